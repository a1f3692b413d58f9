"""EntityCLIP: find, tag and match specific things in pictures. The domain and the model; no orchestrator in here."""
