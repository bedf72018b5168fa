"""The base of every node: parameters from its configuration, lifecycle with autostart, and one guard for all calls."""

from __future__ import annotations

import gc
import logging
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from copy import copy
from itertools import islice
from typing import Any, ClassVar, Generic, TypeVar

import cv2
import rclpy
from lifecycle_msgs.srv import ChangeState
from rclpy._rclpy_pybind11 import RCLError
from rclpy.action.server import ActionServer, CancelResponse
from rclpy.callback_groups import CallbackGroup, ReentrantCallbackGroup
from rclpy.clock import Clock, ClockType  # type: ignore[attr-defined]  # as Humble has it, too
from rclpy.executors import Executor, ExternalShutdownException, SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.signals import uninstall_signal_handlers
from threadpoolctl import threadpool_limits

from visloc_ros.core.config import Config
from visloc_ros.core.errors import VislocError
from visloc_ros.core.own_process import keep_freed_memory
from visloc_ros.core.watchdog import WATCHDOG
from visloc_ros.nodes.guard import Guard
from visloc_ros.nodes.parameters import NodeOptions
from visloc_ros.nodes.qos import REQUESTS
from visloc_ros.nodes.worker import KeptRequests, Worker

try:
    from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import PublisherEventCallbacks, SubscriptionEventCallbacks

ConfigT = TypeVar("ConfigT", bound=Config)
ItemT = TypeVar("ItemT")

WAKE_PERIOD_S = 1.0  # of signs of life; a signal is noticed after it at the latest. It costs an idle process nothing
WARNING_PERIOD_S = 1.0  # of one line of the code: a sender may cause one with every message


class VislocNode(LifecycleNode, Generic[ConfigT]):
    """A lifecycle node that is configured by a ``Config`` and starts by itself unless ``autostart`` is false.

    Subclasses fill in ``configure`` (load models and maps, publishers) and ``activate`` (subscriptions, work). What
    they make there with ``publisher``, ``subscription``, ``service`` and ``timer``, or register with ``undo``, is
    released in reverse order when the node goes back, also when a transition fails half-way. A VislocError fails
    the transition with its message.
    """

    default_name: ClassVar[str]
    config_type: type[ConfigT]
    parameter_names: ClassVar[tuple[str, ...]] = ()
    """Options, or groups of them, that are ROS parameters, for the owner of a robot to set. A file sets the others."""
    config: ConfigT

    @classmethod
    def plugin_parameter_names(cls) -> tuple[str, ...]:
        """Further ones, of plug-ins that are installed; no generated file has them."""
        return ()

    def __init__(self) -> None:
        super().__init__(self.default_name, namespace="visloc")
        self._configured, self._active = ExitStack(), ExitStack()
        self._open = self._configured
        self.guard = Guard(self.get_logger())
        self._service_group = ReentrantCallbackGroup()  # a long one does not block the others
        names = (*self.parameter_names, *self.plugin_parameter_names())
        self._options = NodeOptions(self, self.config_type, names)
        self.declare_parameter("autostart", True)
        self.is_active = self.is_shut_down = False
        self.action_types: dict[str, type] = {}
        """The actions that the node offers, by their names below its own."""
        self._service_change_state.callback = self._refusing(self._service_change_state.callback)
        self._workers = list[tuple[Worker[Any], bool]]()  # and whether the node is nothing without it
        self._requests = KeptRequests(self, (self._service_change_state, self._service_get_state))

    def configure(self) -> None:
        """Load what is needed and create publishers and services."""

    def activate(self) -> None:
        """Create subscriptions and start working."""

    def open_on_demand(self) -> None:
        """Create the topics that requests create, so that the node's interface can be listed completely."""

    def undo(self, callback: Callable[..., object], *arguments: object) -> None:
        """Call this when the state being entered is left."""
        self._open.callback(callback, *arguments)

    @contextmanager
    def until_closed(self) -> Iterator[ExitStack]:
        """Objects made in this block live until the given stack is closed, for which the caller is responsible."""
        before, self._open = self._open, ExitStack()
        try:
            yield self._open
        except BaseException:
            self._open.__exit__(*sys.exc_info())
            raise
        finally:
            self._open = before

    def publisher(self, message_type: type, topic: str, qos: QoSProfile) -> Publisher:
        """Create a publisher that lives as long as the state being entered.

        Only the subscriber is warned of another QoS: the executor works for each event that it waits for whenever a
        message comes.
        """
        silent = PublisherEventCallbacks(use_default_callbacks=False)
        publisher = self.create_publisher(message_type, topic, qos, event_callbacks=silent)
        self.undo(self.destroy_publisher, publisher)
        return publisher

    def subscription(
        self,
        message_type: type,
        topic: str,
        callback: Callable[..., None],
        qos: QoSProfile,
        from_outside: bool = False,
        serialized: bool = False,
    ) -> None:
        """Create a subscription that lives as long as the state being entered.

        Only a subscription ``from_outside``, whose publisher's QoS is not this package's, warns of a publisher of
        another QoS or type, and has the parameters ``qos_overrides.TOPIC.subscription.*`` for another QoS.
        ``serialized`` messages come as bytes.
        """
        events = SubscriptionEventCallbacks(use_default_callbacks=from_outside)
        guarded = self.guard.callback(topic, callback)
        overriding = QoSOverridingOptions.with_default_policies() if from_outside else None
        subscription = self.create_subscription(
            message_type,
            topic,
            guarded,
            copy(qos),  # which an override changes
            event_callbacks=events,
            qos_overriding_options=overriding,
            raw=serialized,
        )
        self.undo(self.destroy_subscription, subscription)

    def polled_subscription(
        self, message_type: type, topic: str, qos: QoSProfile, from_outside: bool = False
    ) -> Callable[[], list[bytes]]:
        """A subscription that is polled: each call gives the messages since the last one, serialized, oldest first.

        Waking the executor takes half a millisecond a message: too much for messages that need not be handled at once.
        Those beyond the depth of ``qos`` between two calls are lost. Lives as long as the state being entered.
        """
        overriding = QoSOverridingOptions.with_default_policies() if from_outside else None
        subscription = self.create_subscription(
            message_type,
            topic,
            _ignore,
            copy(qos),
            callback_group=NeverExecuted(),
            event_callbacks=SubscriptionEventCallbacks(use_default_callbacks=False),
            qos_overriding_options=overriding,
            raw=True,
        )
        self.undo(self.destroy_subscription, subscription)

        def take() -> list[bytes]:
            with subscription.handle:
                taken = iter(lambda: subscription.handle.take_message(message_type, True), None)
                return [serialized for serialized, _ in islice(taken, qos.depth)]

        return take

    def service(self, service_type: type, name: str, callback: Callable[..., object]) -> None:
        """Offer a service as long as the state being entered lasts; the callback may be a coroutine."""
        guarded = self.guard.service(name.removeprefix("~/"), callback)
        service = self.create_service(
            service_type, name, guarded, qos_profile=REQUESTS, callback_group=self._service_group
        )
        self.undo(self.destroy_service, service)

    def action(self, action_type: Any, name: str, execute: Callable[..., object], cancel: Callable[[], object]) -> None:
        """Offer an action as long as the state being entered lasts; ``execute`` is a coroutine, ``cancel`` ends it."""

        def cancel_goal(_: object) -> CancelResponse:
            cancel()
            return CancelResponse.ACCEPT

        guarded = self.guard.action(name.removeprefix("~/"), execute, action_type.Result)
        server = ActionServer(
            self, action_type, name, guarded, cancel_callback=cancel_goal, callback_group=self._service_group
        )
        self.action_types[name.removeprefix("~/")] = action_type
        self.undo(server.destroy)

    def timer(self, period_s: float, callback: Callable[[], None], is_steady: bool = False) -> None:
        """Call back regularly as long as the state being entered lasts, with ``is_steady`` also where /clock stands."""
        guarded = self.guard.callback(callback.__name__.strip("_"), callback)
        clock = Clock(clock_type=ClockType.STEADY_TIME) if is_steady else None
        self.undo(self.destroy_timer, self.create_timer(period_s, guarded, clock=clock))

    def worker(
        self,
        name: str,
        handle: Callable[[ItemT], None],
        capacity: int,
        is_urgent: Callable[[ItemT], bool] | None = None,
        is_vital: bool = True,
    ) -> Worker[ItemT]:
        """A queue with its thread (``Worker``), which lives as long as the state being entered.

        Where it hangs, the process ends if it is vital.
        """
        worker = Worker(self.guard.callback(name, handle), capacity, is_urgent, name)
        self._workers.append((worker, is_vital))
        self.undo(self._workers.remove, (worker, is_vital))
        self.undo(worker.close)
        return worker

    @property
    def work_problem(self) -> tuple[str, str] | None:
        """Level and message of the workers' gravest problem, if they have one."""
        problems = [problem for worker, _ in self._workers if (problem := worker.problem) is not None]
        return min(problems, key=lambda problem: problem[0] != "error", default=None)

    @property
    def is_stuck(self) -> bool:
        """Whether a vital worker hangs, or its thread has ended."""
        problems = [worker.problem for worker, is_vital in self._workers if is_vital]
        return any(problem is not None and problem[0] == "error" for problem in problems)

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Read the parameters again and configure."""
        return self._enter(self._configured, self._read_and_configure)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Start working."""
        result = self._enter(self._active, self.activate)
        self.is_active = result is TransitionCallbackReturn.SUCCESS
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop working."""
        self.is_active = False
        return self._leave(self._active)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Return to the state before configuration."""
        return self._leave(self._configured)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop working and release everything; a process ends when all of its nodes are shut down."""
        self.is_active = False
        for stack in (self._active, self._configured):
            result = self._leave(stack)
            if result is not TransitionCallbackReturn.SUCCESS:
                return result
        self.is_shut_down = True
        return TransitionCallbackReturn.SUCCESS

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Return to a clean unconfigured state after a transition that failed for an unknown reason."""
        self.release()
        return TransitionCallbackReturn.SUCCESS

    def _read_and_configure(self) -> None:
        self.config = self._options.read()
        self.undo(self._options.release)
        self.configure()

    def _enter(self, stack: ExitStack, step: Callable[[], None]) -> TransitionCallbackReturn:
        self._open = stack
        try:
            with self._requests.keeping(), WATCHDOG.patient():
                step()
        except VislocError as error:
            self.get_logger().error(str(error))
            stack.close()
            return TransitionCallbackReturn.FAILURE
        except Exception as error:
            self.get_logger().fatal(f"unexpected {type(error).__name__}: {error}\n{traceback.format_exc()}")
            return TransitionCallbackReturn.ERROR
        return TransitionCallbackReturn.SUCCESS

    def _leave(self, stack: ExitStack) -> TransitionCallbackReturn:
        try:
            with self._requests.keeping(), WATCHDOG.patient():
                stack.close()
        except Exception as error:
            self.guard.keep("going back", error)
            return TransitionCallbackReturn.ERROR
        return TransitionCallbackReturn.SUCCESS

    def _refusing(self, change_state: Callable[..., ChangeState.Response]) -> Callable[..., ChangeState.Response]:
        """The lifecycle service, which refuses a transition that the state does not have, where rclpy would raise."""

        def answer(request: ChangeState.Request, response: ChangeState.Response) -> ChangeState.Response:
            try:
                return change_state(request, response)
            except RCLError as error:
                self.get_logger().warning(f"a transition is refused: {error}")
                response.success = False
                return response

        return answer

    def start(self) -> bool:
        """Configure and activate without a lifecycle manager; returns whether both succeeded."""
        steps = (self.trigger_configure, self.trigger_activate)
        return all(step() == TransitionCallbackReturn.SUCCESS for step in steps)

    def release(self) -> None:
        """Stop working and release everything, from any state."""
        self.is_active = False
        self._active.close()
        self._configured.close()

    def now_ns(self) -> int:
        """Time of the node's clock (simulated where ``use_sim_time`` is set)."""
        return int(self.get_clock().now().nanoseconds)


class NeverExecuted(CallbackGroup):
    """The group of subscriptions that no executor serves: the node takes their messages itself."""

    def can_execute(self, entity: object) -> bool:
        """No."""
        return False

    def beginning_execution(self, entity: object) -> bool:
        """No."""
        return False

    def ending_execution(self, entity: object) -> None:
        """Nothing has begun."""


def _ignore(_: object) -> None:
    """A callback that is never called."""


class RosLogHandler(logging.Handler):
    """Passes the library's log records to a node's logger, and throttles repeated warnings of one line of the code."""

    def __init__(self, node: LifecycleNode) -> None:
        super().__init__()
        self._logger = node.get_logger()
        self._logged: dict[tuple[str, int], tuple[float, int]] = {}  # time, and number suppressed since

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record at its severity."""
        text = record.getMessage()
        if record.levelno >= logging.WARNING:
            line, now_s = (record.pathname, record.lineno), time.monotonic()
            logged_s, suppressed = self._logged.get(line, (-WARNING_PERIOD_S, 0))
            if now_s - logged_s < WARNING_PERIOD_S:
                self._logged[line] = logged_s, suppressed + 1
                return
            self._logged[line] = now_s, 0
            text += f" (and {suppressed} more like it)" if suppressed else ""
        # One line a severity: rclpy ties a call site to the severity it was first used with.
        if record.levelno >= logging.ERROR:
            self._logger.error(text)
        elif record.levelno >= logging.WARNING:
            self._logger.warning(text)
        else:
            self._logger.info(text)


def use_one_core() -> None:
    """Use one thread, and leave the other cores to the other nodes: helper threads spin while they wait."""
    threadpool_limits(1, "blas")
    cv2.setNumThreads(1)


def run(node_type: type[VislocNode[Any]]) -> None:
    """Entry point of a node process: exit code 0 after a clean stop, 1 when it could not start."""
    run_all(lambda: [node_type()])


def run_all(make_nodes: Callable[[], Sequence[VislocNode[Any]]]) -> None:
    """Entry point of a process of several nodes, which start in this order and stop in the other."""
    gc.disable()
    use_one_core()
    keep_freed_memory()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # pycolmap's handler, which ends the process, would follow rclpy's
    rclpy.init(args=sys.argv)
    nodes = make_nodes()
    handler = RosLogHandler(nodes[0])
    logging.getLogger("visloc_ros").addHandler(handler)
    logging.getLogger("visloc_ros").setLevel(logging.INFO)
    executor = SingleThreadedExecutor()
    for node in nodes:
        executor.add_node(node)
    try:
        WATCHDOG.arm()
        if not all(node.start() for node in nodes if node.get_parameter("autostart").value):
            sys.exit(1)
        # The objects loaded so far stay. A garbage collection over them takes 0.2 s while torch is loaded, and 0.1 s
        # each time later, in which frames wait.
        gc.freeze()
        gc.enable()
        serve(executor, nodes)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        WATCHDOG.disarm()
        logging.getLogger("visloc_ros").removeHandler(handler)
        for node in reversed(nodes):
            node.release()
        _shut_down()


def serve(executor: Executor, nodes: Sequence[VislocNode[Any]]) -> None:
    """Serve until all nodes are shut down, or a signal has shut the context down.

    Every second it gives a sign of life, unless a node is stuck.
    """

    def beat() -> None:
        if not any(node.is_stuck for node in nodes):
            WATCHDOG.beat()

    wake = None
    try:
        # rclpy wakes a waiting executor before it shuts the context down: a quick one checks too early and waits on.
        wake = nodes[0].create_timer(WAKE_PERIOD_S, beat, clock=Clock(clock_type=ClockType.STEADY_TIME))
        while rclpy.ok() and not all(node.is_shut_down for node in nodes):
            executor.spin_once()
    except RCLError:
        if rclpy.ok():
            raise
        # rclpy's own signal handler shut the context down between a check and a call
    finally:
        if wake is not None:
            nodes[0].destroy_timer(wake)


def _shut_down() -> None:
    try:
        rclpy.try_shutdown()
    except RCLError:
        if rclpy.ok():
            raise
        # rclpy's own signal handler shut the context down between the check and the call
    finally:
        uninstall_signal_handlers()  # waits for their thread, which may still wake an executor that is about to vanish
