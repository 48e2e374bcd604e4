"""graphql-core, Strawberry and Ariadne: a resolver's exception is an error once, whoever makes a 200 of it."""

from __future__ import annotations

import json

import pytest

from tests.support.services import Service

APP = """
import asyncio, logging, os
import ariadne, graphql, strawberry
from ariadne.asgi import GraphQL
from fastapi import FastAPI, Request
from strawberry.fastapi import GraphQLRouter

log = logging.getLogger("shop")
CACHED = KeyError("the same object twice")

class Below(OSError): original_error = None

def order(number):
    log.warning("order %s", number)
    return f"order {number}"

def boom(): raise ValueError("sync")
def same(): raise CACHED
def purpose(): raise graphql.GraphQLError("no such order", extensions={"code": "NOT_FOUND"})
def wrapped(): raise graphql.GraphQLError("sorry", original_error=Below("below"))

async def later():
    await asyncio.sleep(0)
    raise LookupError("async")

@strawberry.type
class Inner:
    required: str = strawberry.field(resolver=boom)

@strawberry.type
class Query:
    @strawberry.field
    def order(self, number: int) -> str: return order(number)
    boom: str | None = strawberry.field(resolver=boom)
    same: str | None = strawberry.field(resolver=same)
    purpose: str | None = strawberry.field(resolver=purpose)
    wrapped: str | None = strawberry.field(resolver=wrapped)
    later: str | None = strawberry.field(resolver=later)
    @strawberry.field
    def inner(self) -> Inner | None: return Inner()

SDL = '''
type Inner { required: String! }
type Query {
  order(number: Int!): String!  boom: String  same: String  purpose: String  wrapped: String  later: String
  inner: Inner
}
'''
query, inner = ariadne.QueryType(), ariadne.ObjectType("Inner")
query.set_field("order", lambda _, info, number: order(number))
for name in ("boom", "same", "purpose", "wrapped", "later"):
    query.set_field(name, lambda _, info, resolve=globals()[name]: resolve())
query.set_field("inner", lambda _, info: {})
inner.set_field("required", lambda _, info: boom())
executable = ariadne.make_executable_schema(SDL, query, inner)

app = FastAPI()
app.include_router(GraphQLRouter(strawberry.Schema(Query)), prefix="/strawberry")
app.add_route("/ariadne", GraphQL(executable), methods=["POST"])

@app.post("/core")
async def core(request: Request):
    result = await graphql.graphql(executable, (await request.json())["query"])
    return result.formatted
"""
OUTSIDE = """
import graphql

def boom(*_): raise ValueError("sync")

schema = graphql.GraphQLSchema(graphql.GraphQLObjectType("Query", {
    "boom": graphql.GraphQLField(graphql.GraphQLString, resolve=boom),
}))
result = graphql.graphql_sync(schema, "{ boom }")
print(result, result.errors[0].original_error)
"""
UVICORN = "uvicorn app:app --port {port} --log-level critical"
ECHOES = {"core": 0, "strawberry": 11, "ariadne": 11}  # what the library logs, an error that it answers each
DOCUMENTS = {
    "s1": "query Orders { order(number: 7) }",
    "s2": "{ a: boom b: boom later }",
    "s3": "{ inner { required } }",
    "s4": "{ purpose }",
    "s5": "{ wrapped }",
    "s6": "{ one: same two: same }",
    "s7": "{ nowhere }",
    "s8": "{ syntax",
}


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bare")
    service = Service(UVICORN, files={"app.py": APP}, folder=folder, bare=True)
    yield service
    service.kill()


def ask(service, way, session, document):
    headers = {"x-highlight-request": f"{session}/{way}", "content-type": "application/json"}
    answer = service.request("POST", f"/{way}", headers, json.dumps({"query": document}).encode())
    return answer.status, json.loads(answer.text)


def test_a_resolvers_exception_is_an_error_once(run_service, receiver, bare):
    service = run_service(UVICORN, files={"app.py": APP})
    for way, echoes in ECHOES.items():
        receiver.clear()
        answers = {session: ask(service, way, session, document) for session, document in DOCUMENTS.items()}
        assert answers == {session: ask(bare, way, session, document) for session, document in DOCUMENTS.items()}
        ask(service, way, "null", "{ boom }")

        receiver.wait(spans=len(DOCUMENTS) + 1, logs=1, errors=7)
        assert [(span.name, span.kind, span.session) for span in receiver.spans] == [
            (f"POST /{way}", "SERVER", session) for session in [*DOCUMENTS, None]
        ]
        told = [
            (span.attributes.get("graphql.operation.type"), span.attributes.get("graphql.operation.name"))
            for span in receiver.spans
        ]
        assert told == [("query", "Orders"), *[("query", None)] * 5, (None, None), (None, None), ("query", None)]
        assert sorted((str(error.session), error.type, error.message) for error in receiver.errors) == [
            ("None", "ValueError", "sync"),
            ("s2", "LookupError", "async"),
            ("s2", "ValueError", "sync"),
            ("s2", "ValueError", "sync"),
            ("s3", "ValueError", "sync"),
            ("s5", "app.Below", "below"),
            ("s6", "KeyError", "'the same object twice'"),
        ]
        assert {error.source for error in receiver.errors} == {"span"}
        assert [(log.body, log.session) for log in receiver.logs if log.logger == "shop"] == [("order 7", "s1")]
        assert len([log for log in receiver.logs if log.logger != "shop"]) == echoes


def test_outside_any_request_nothing_is_reported(run_python, receiver):
    under_agent, bare = run_python(OUTSIDE), run_python(OUTSIDE, under_agent=False)

    assert (under_agent.stdout, under_agent.stderr) == (bare.stdout, bare.stderr)
    assert bare.stdout.endswith(" sync\n")
    receiver.settle()
    assert (receiver.spans, receiver.logs) == ([], [])
