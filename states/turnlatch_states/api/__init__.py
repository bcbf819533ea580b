"""What the Messages API is: replies, errors, models, and the rules of a request."""
