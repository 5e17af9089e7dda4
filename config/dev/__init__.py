"""Development: the embedded database, the processes, the demo and the checks that run the product on one machine."""
