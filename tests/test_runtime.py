"""The loop, seen from outside: what Lambda is asked and told, and in which order."""

from __future__ import annotations

from tests.conftest import Serve


def test_handlers_result_is_posted_for_the_request_that_it_answers(serve: Serve) -> None:
    """The loop: next, invoke, response, next."""
    served = serve("def handler(event, context): return {'got': event}", {"n": 1}, {"n": 2})

    assert [post.path.split("/", 3)[3] for post in served.posts] == [
        f"invocation/{event.request_id}/response" for event in served.api.events
    ]
    assert served.answers == [{"got": {"n": 1}}, {"got": {"n": 2}}]


def test_work_handed_over_runs_after_the_response_and_before_the_next_poll(serve: Serve) -> None:
    """The promise of this package."""
    served = serve(
        """
        import time
        from lambda_ric import wait_until

        def work():
            time.sleep(0.2)

        def handler(event, context):
            wait_until(work)
        """,
        None,
    )

    first_poll, response, second_poll = served.api.requests
    assert second_poll.at - response.at >= 0.2 > response.at - first_poll.at
