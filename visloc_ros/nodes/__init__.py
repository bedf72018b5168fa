"""The ROS 2 nodes: they convert messages, call the core once, and publish. Only this package imports rclpy."""
