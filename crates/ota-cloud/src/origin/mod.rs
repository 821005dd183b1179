//! An IO-free HTTP/1.1 server for firmware images, with faults on demand.
