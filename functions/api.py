import functions_framework
from flask import Request
from flask.typing import ResponseReturnValue

from shared.serving import check_configuration, serve_api

check_configuration()


@functions_framework.http
def api(request: Request) -> ResponseReturnValue:
    return serve_api(request)
