import functions_framework
from flask import Request
from flask.typing import ResponseReturnValue

from shared.domain.stages import JobType
from shared.serving import check_configuration, serve_push

check_configuration()


@functions_framework.http
def notify(request: Request) -> ResponseReturnValue:
    return serve_push(request, JobType.NOTIFICATIONS)
