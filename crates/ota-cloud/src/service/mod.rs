//! The MQTT endpoint and the firmware server over tokio sockets.
