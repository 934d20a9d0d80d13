"""One file per resource: read the request, call a rule, shape the answer. No rule and no SQL lives here."""
