"""graphene: a resolver's exception is an error once, although the answer is a 200."""

from __future__ import annotations

import json

import pytest

from tests import environment

APP = """
import asyncio, logging, os
import graphene
from flask import Flask, request
from graphql import GraphQLError

log = logging.getLogger("shop")

class Inner(graphene.ObjectType):
    required = graphene.String(required=True)
    def resolve_required(self, info): raise ValueError("below")

class Query(graphene.ObjectType):
    order = graphene.String(number=graphene.Int(required=True))
    boom = graphene.String()
    purpose = graphene.String()
    inner = graphene.Field(Inner)
    later = graphene.String()

    def resolve_order(self, info, number):
        log.warning("order %s", number)
        return f"order {number}"
    def resolve_boom(self, info): raise LookupError("sync")
    def resolve_purpose(self, info): raise GraphQLError("no such order", extensions={"code": "NOT_FOUND"})
    def resolve_inner(self, info): return Inner()
    async def resolve_later(self, info):
        await asyncio.sleep(0)
        raise KeyError("async")

class Cancel(graphene.Mutation):
    class Arguments:
        number = graphene.Int(required=True)
    done = graphene.Boolean()
    def mutate(self, info, number):
        raise PermissionError(f"not yours: {number}")

class Mutation(graphene.ObjectType):
    cancel = Cancel.Field()

schema = graphene.Schema(query=Query, mutation=Mutation)
app = Flask(__name__)
logging.getLogger("werkzeug").disabled = True

def answer(result):
    for error in result.errors or ():
        if error.original_error is not None:
            log.error("answered", exc_info=error)
    return result.formatted

@app.post("/sync")
def execute(): return answer(schema.execute(request.get_json()["query"]))

@app.post("/async")
def execute_async(): return answer(asyncio.run(schema.execute_async(request.get_json()["query"])))

app.run(port=int(os.environ["PORT"]))
"""
DOCUMENTS = {
    "s1": "query Orders { order(number: 7) }",
    "s2": "{ a: boom b: boom }",
    "s3": "{ inner { required } }",
    "s4": "{ purpose }",
    "s5": "mutation { cancel(number: 7) { done } }",
    "s6": "{ nowhere }",
    "s7": "{ syntax",
}


@pytest.fixture(scope="module")
def python():
    """An environment of its own: it wants an older graphql-core than Strawberry does."""
    return environment.beside("graphene", ["graphene", "flask"])


def ask(service, way, session, document):
    headers = {"x-highlight-request": f"{session}/r1", "content-type": "application/json"}
    answer = service.request("POST", f"/{way}", headers, json.dumps({"query": document}).encode())
    return answer.status, json.loads(answer.text)


def test_a_resolvers_exception_is_an_error_once(run_service, receiver, python):
    service = run_service([python, "app.py"], files={"app.py": APP})
    bare = run_service([python, "app.py"], files={"app.py": APP}, bare=True)
    for way in ("sync", "async"):
        receiver.clear()
        documents = {**DOCUMENTS, "null": "{ boom }", **({"s8": "{ later }"} if way == "async" else {})}
        answers = {session: ask(service, way, session, document) for session, document in documents.items()}
        assert answers == {session: ask(bare, way, session, document) for session, document in documents.items()}
        assert {status for status, _ in answers.values()} == {200}

        expected = [("s2", "LookupError", "sync"), ("s2", "LookupError", "sync"), ("s3", "ValueError", "below")]
        expected += [("s5", "PermissionError", "not yours: 7"), (None, "LookupError", "sync")]
        expected += [("s8", "KeyError", "'async'")] if way == "async" else []
        receiver.wait(spans=len(documents), logs=2 + len(expected), errors=len(expected))
        assert [(error.session, error.type, error.message) for error in receiver.errors] == expected
        assert {error.source for error in receiver.errors} == {"span"}
        kinds = {"s5": "mutation", "s6": None, "s7": None}
        assert [
            (span.name, span.kind, span.session, span.attributes.get("graphql.operation.type"))
            for span in receiver.spans
        ] == [
            (f"POST /{way}", "SERVER", None if session == "null" else session, kinds.get(session, "query"))
            for session in documents
        ]
        logged = ["s2", "s2", "s3", "s4", "s5", None, *(["s8"] if way == "async" else [])]
        assert [(log.body, log.session) for log in receiver.logs] == [
            ("order 7", "s1"),
            *[("answered", session) for session in logged],
        ]
