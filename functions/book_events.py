import functions_framework
from flask import Request
from flask.typing import ResponseReturnValue

from shared.serving import check_configuration, serve_book_events

check_configuration()


@functions_framework.http
def book_events(request: Request) -> ResponseReturnValue:
    return serve_book_events(request)
