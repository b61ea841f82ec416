"""Where state lives: PostgreSQL is the truth, Valkey an index that can be rebuilt from it."""
