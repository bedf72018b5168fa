"""The ROS 2 nodes: convert, call the core once, publish. The only place that imports rclpy."""
