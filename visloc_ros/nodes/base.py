"""What every node shares: parameters from its configuration, lifecycle with autostart, errors caught once."""

from __future__ import annotations

import logging
import sys
from typing import ClassVar, Generic, TypeVar

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from threadpoolctl import threadpool_limits

from visloc_ros.core.config import Config
from visloc_ros.core.errors import VislocError
from visloc_ros.nodes.parameters import declare_parameters, read_parameters

ConfigT = TypeVar("ConfigT", bound=Config)


class VislocNode(LifecycleNode, Generic[ConfigT]):
    """A lifecycle node that is configured by a ``Config`` and starts by itself unless ``autostart`` is false.

    Subclasses fill in ``configure`` (load models and maps, create publishers), ``activate`` (subscribe),
    ``deactivate`` and ``cleanup``. A VislocError in any of them fails the transition with its message.
    """

    default_name: ClassVar[str]
    config_type: ClassVar[type[Config]]
    config: ConfigT

    def __init__(self) -> None:
        super().__init__(self.default_name, namespace="visloc")
        declare_parameters(self, self.config_type)
        self.declare_parameter("autostart", True)

    def configure(self) -> None:
        """Load what is needed and create publishers and services."""

    def activate(self) -> None:
        """Create subscriptions and start working."""

    def deactivate(self) -> None:
        """Stop working and drop the subscriptions."""

    def cleanup(self) -> None:
        """Forget models, maps and publishers."""

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Read the parameters anew and configure."""
        return self._transition(self._read_and_configure)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Start working."""
        return self._transition(self.activate, lambda: super(VislocNode, self).on_activate(state))

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop working."""
        return self._transition(self.deactivate, lambda: super(VislocNode, self).on_deactivate(state))

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Return to the state before configuration."""
        return self._transition(self.cleanup)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Return to a clean unconfigured state after a failed transition."""
        return self._transition(self.cleanup)

    def _read_and_configure(self) -> None:
        self.config = read_parameters(self, self.config_type)  # type: ignore[assignment]
        self.configure()

    def _transition(self, *steps) -> TransitionCallbackReturn:
        try:
            for step in steps:
                step()
        except VislocError as error:
            self.get_logger().error(str(error))
            return TransitionCallbackReturn.FAILURE
        except Exception as error:
            self.get_logger().error(f"unexpected {type(error).__name__} in a transition: {error}")
            logging.getLogger(__name__).exception("transition failed")
            return TransitionCallbackReturn.ERROR
        return TransitionCallbackReturn.SUCCESS

    def start(self) -> bool:
        """Configure and activate without a lifecycle manager; tells whether both succeeded."""
        return (
            self.trigger_configure() == TransitionCallbackReturn.SUCCESS
            and self.trigger_activate() == TransitionCallbackReturn.SUCCESS
        )

    def stop(self) -> None:
        """Release everything in an orderly way, from whatever state."""
        self.deactivate()
        self.cleanup()

    def now_ns(self) -> int:
        """Time of the node's clock (simulated where ``use_sim_time`` is set)."""
        return int(self.get_clock().now().nanoseconds)


class RosLogHandler(logging.Handler):
    """Passes the library's log records on to a node's logger."""

    def __init__(self, node: LifecycleNode) -> None:
        super().__init__()
        self._logger = node.get_logger()

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record at the severity it has."""
        text = record.getMessage()
        # One line a severity: rclpy ties a call site to the severity it was first used with.
        if record.levelno >= logging.ERROR:
            self._logger.error(text)
        elif record.levelno >= logging.WARNING:
            self._logger.warning(text)
        else:
            self._logger.info(text)


def run(node_type: type[VislocNode]) -> None:
    """Entry point of a node process: exit code 0 after a clean stop, 1 when it could not start."""
    threadpool_limits(1, "blas")  # the matrices are small: a second thread spins and takes a core from other nodes
    rclpy.init(args=sys.argv)
    node = node_type()
    handler = RosLogHandler(node)
    logging.getLogger("visloc_ros").addHandler(handler)
    logging.getLogger("visloc_ros").setLevel(logging.INFO)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        if node.get_parameter("autostart").value and not node.start():
            sys.exit(1)
        executor.spin()
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        logging.getLogger("visloc_ros").removeHandler(handler)
        node.stop()
        rclpy.try_shutdown()
