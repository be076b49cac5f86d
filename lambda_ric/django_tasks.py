"""
A backend for Django's own background tasks: what is enqueued runs after the response.

    https://docs.djangoproject.com/en/6.0/topics/tasks/

    TASKS = {"default": {"BACKEND": "lambda_ric.django_tasks.BackgroundBackend", "OPTIONS": {"timeout": 20}}}

It needs Django 6. The options are the policy of `lambda_ric.task`.
"""

# Django 6 wants Python 3.12.
# pyright: reportMissingImports=false

from __future__ import annotations

from contextvars import ContextVar
from traceback import format_exception

from django.db import connections
from django.tasks.backends.base import BaseTaskBackend
from django.tasks.base import TaskContext, TaskError, TaskResult, TaskResultStatus
from django.tasks.signals import task_enqueued, task_finished, task_started
from django.utils import timezone
from django.utils.crypto import get_random_string
from django.utils.json import normalize_json

from .handover import wait_until
from .tasks.policy import task as registered

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from .tasks.policy import Task

# The result that the caller holds, for the run of it in the same process.
_result: ContextVar[TaskResult | None] = ContextVar("lambda_ric.django_tasks", default=None)


class BackgroundBackend(BaseTaskBackend):  # type: ignore[misc]
    """
    Hands Django's tasks to `wait_until`, each registered under its name and that of the backend.

    There is no store of results: the result that `enqueue` returns follows its task in this process only, and nobody
    can ask for one by its id. Priorities and `run_after` are refused.
    """

    supports_async_task = True

    def __init__(self, alias: str, params: Mapping[str, Any]) -> None:
        super().__init__(alias, params)
        self._registered: dict[str, Task] = {}
        self._worker_id = get_random_string(32)

    def validate_task(self, task: Any) -> None:
        """
        Register *task*; Django calls this when it is made.

        Raises:
            InvalidTask: It cannot be run here.
            TypeError, ValueError: The options of the backend are no policy.
        """
        super().validate_task(task)
        # Before any message names it: nothing that a queue sends is imported.
        if task.module_path not in self._registered:
            self._registered[task.module_path] = self._register(task)

    def enqueue(self, task: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> TaskResult:
        """
        Have *task* run after the response; return its result, which is READY.

        Raises:
            InvalidTask: It cannot be run here.
            TypeError: The arguments have no JSON form.
            RuntimeError: There is no invocation.
        """
        self.validate_task(task)
        result = self._result_of(task, get_random_string(32), args, kwargs)
        _set(result, enqueued_at=timezone.now())
        token = _result.set(result)
        try:
            wait_until(self._registered[task.module_path], result.id, result.args, result.kwargs)
        finally:
            _result.reset(token)
        task_enqueued.send(type(self), task_result=result)
        return result

    def _register(self, task: Any) -> Task:
        def run(result_id: str, args: list[Any], kwargs: dict[str, Any]) -> None:
            result = _result.get()
            if result is None or result.id != result_id:  # it comes from the queue
                result = self._result_of(task, result_id, args, kwargs)
            try:
                self._run(task, result)
            finally:
                connections.close_all()  # they are this thread's, which ends with its work

        run.__qualname__ = task.module_path
        return registered(name=f"django.{self.alias}:{task.module_path}", **self.options)(run)

    def _run(self, task: Any, result: TaskResult) -> None:
        now = timezone.now()
        _set(result, status=TaskResultStatus.RUNNING, started_at=result.started_at or now, last_attempted_at=now)
        result.worker_ids.append(self._worker_id)
        task_started.send(type(self), task_result=result)
        first = (TaskContext(task_result=result),) if task.takes_context else ()
        try:
            value = normalize_json(task.call(*first, *result.args, **result.kwargs))
        except BaseException as error:
            name = f"{type(error).__module__}.{type(error).__qualname__}"
            result.errors.append(TaskError(exception_class_path=name, traceback="".join(format_exception(error))))
            _set(result, status=TaskResultStatus.FAILED, finished_at=timezone.now())
            task_finished.send(type(self), task_result=result)
            raise  # for the policy, the log and the hooks
        _set(result, status=TaskResultStatus.SUCCESSFUL, finished_at=timezone.now(), _return_value=value)
        task_finished.send(type(self), task_result=result)

    def _result_of(self, task: Any, result_id: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> TaskResult:
        return TaskResult(
            task=task,
            id=result_id,
            status=TaskResultStatus.READY,
            enqueued_at=None,
            started_at=None,
            finished_at=None,
            last_attempted_at=None,
            args=args,
            kwargs=kwargs,
            backend=self.alias,
            errors=[],
            worker_ids=[],
        )


def _set(result: TaskResult, **fields: Any) -> None:
    for name, value in fields.items():
        object.__setattr__(result, name, value)  # it is frozen for everybody but backends
