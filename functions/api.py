import functions_framework
from flask import Request
from flask.typing import ResponseReturnValue

from shared.serving import serve_api


@functions_framework.http
def api(request: Request) -> ResponseReturnValue:
    return serve_api(request)
