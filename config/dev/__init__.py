"""Everything that runs the whole product on one machine: database, processes, demo, walkthrough and checks."""
