import functions_framework
from flask import Request
from flask.typing import ResponseReturnValue

from shared.serving import check_configuration, serve_reconcile

check_configuration()


@functions_framework.http
def reconcile(request: Request) -> ResponseReturnValue:
    return serve_reconcile(request)
