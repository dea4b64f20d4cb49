"""The PostgreSQL server that Dagster's runs and events may lie in: whether it answers, told before a run starts."""

from __future__ import annotations

from edp_assets.storage.home import Home, HomeError

CONNECT_SECONDS = 10


def require_postgres(home: Home) -> None:
    """See that the server that home.toml names lets this machine in; without one there is nothing to see.

    Raises:
        HomeError: its libraries are not installed, or it does not let us in.
    """
    url = home.settings.instance.postgres
    if url is None:
        return
    try:
        import dagster_postgres  # noqa: F401
        import psycopg2
    except ImportError:
        raise HomeError(
            f"{url}: PostgreSQL needs the library dagster-postgres: pip install 'edp_assets[cluster]'"
        ) from None
    try:
        psycopg2.connect(url, connect_timeout=CONNECT_SECONDS).close()
    except psycopg2.OperationalError as error:
        raise HomeError(
            f"wanted PostgreSQL at {url}, found: {' '.join(str(error).split())}. Mend [instance] in "
            f"{home.root / 'home.toml'}, or what keeps the server from answering; the password is PGPASSWORD's, or of "
            "the file that PGPASSFILE names"
        ) from None
