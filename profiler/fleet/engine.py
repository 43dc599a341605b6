"""DuckDB over a catalogue. Its SQL may come from a stranger: it sees the rows, and nothing else of this
machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from profiler.errors import ColdseekError, UsageError
from profiler.files.free_memory import available_bytes
from profiler.fleet.extra import needed
from profiler.units import show_path

if TYPE_CHECKING:
    import pyarrow as pa

TABLE = "fleet"
_SHARE_OF_MEMORY = 0.8

_LOCKS = (
    "SET TimeZone = 'UTC'",
    "SET temp_directory = ''",  # what does not fit in memory is refused, not put beside us
    "SET autoinstall_known_extensions = false",
    "SET autoload_known_extensions = false",
    "SET allow_community_extensions = false",
    "SET python_enable_replacements = false",  # no variable of ours is a table
    "SET enable_external_access = false",
    "SET lock_configuration = true",
)
"""In this order; see "Securing DuckDB" in DuckDB's documentation."""


def opened(table: pa.Table) -> Any:
    """A connection to a database in memory with the catalogue as the table `fleet`, `started_at` in UTC
    without a zone. It can neither reach files nor load extensions, and that cannot be set back."""
    duckdb = needed("duckdb")
    connection = duckdb.connect(":memory:")
    free = available_bytes()
    if free is not None:
        connection.execute(f"SET memory_limit = '{int(free * _SHARE_OF_MEMORY) // 2**20 + 64}MiB'")
    connection.register("given", table)
    dated = "started_at" in table.column_names
    columns = "* REPLACE (timezone('UTC', started_at) AS started_at)" if dated else "*"
    connection.execute(f"CREATE TABLE {TABLE} AS SELECT {columns} FROM given")  # noqa: S608
    connection.unregister("given")
    for words in _LOCKS:
        connection.execute(words)
    return connection


def query(table: pa.Table, sql: str) -> tuple[list[str], list[list[Any]]]:
    """What a query over the table `fleet` gives: names of columns, and rows. Raises UsageError, with
    DuckDB's own words, where it cannot be done."""
    duckdb = needed("duckdb")
    try:
        result = opened(table).sql(sql)
        if result is None:
            raise UsageError("the query gives no table; ask for one: select count(*) from fleet")
        found: pa.Table = result.to_arrow_table()
        columns = [column.to_pylist(maps_as_pydicts="lossy") for column in found.columns]
        return list(found.column_names), [list(row) for row in zip(*columns, strict=True)]
    except duckdb.OutOfMemoryException as error:
        raise ColdseekError("the query takes more memory than is free; ask for less of it") from error
    except duckdb.Error as error:
        raise UsageError(f"DuckDB: {show_path(str(error).strip().splitlines()[0][:400])}") from error
