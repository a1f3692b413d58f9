"""What a worker does beside answering one request: batches, stages' times, releases that come and go, feedback."""
