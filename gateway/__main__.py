"""The `gateway` command."""

from __future__ import annotations


def main() -> None:
    """Run the command line."""
    from gateway.cli import app  # noqa: PLC0415 - `--help` must not pay for more than it needs

    app(prog_name="gateway")


if __name__ == "__main__":
    main()
