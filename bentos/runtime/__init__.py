"""Runtime of a worker: batching, metrics, switching of releases, shadowing, samples and feedback."""
