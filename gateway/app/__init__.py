"""Use cases: async functions over ports, free of frameworks and drivers."""
