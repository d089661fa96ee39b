"""What each kind of container is read with."""

from collections.abc import Callable, Iterator

from workers.sources.formats.containers.arrow import arrow_groups, read_arrow
from workers.sources.formats.containers.avro import read_avro
from workers.sources.formats.containers.groups import Group
from workers.sources.formats.containers.orc import orc_groups, read_orc
from workers.sources.formats.containers.parquet import parquet_groups, read_parquet
from workers.sources.formats.header import Columns
from workers.sources.formats.rows import Rows
from workers.store import Opener
from workers.values import Block, Range

# Yields the rows of a range, with the wanted columns.
READERS: dict[str, Callable[[Opener, Range, Columns], Iterator[Rows]]] = {
    "parquet": read_parquet,
    "orc": read_orc,
    "avro": read_avro,
    "arrow": read_arrow,
}
# Returns the groups of rows of a block, for those that say where they are; Avro is cut by bytes.
GROUPS: dict[str, Callable[[Opener, Block | Range], list[Group]]] = {
    "parquet": parquet_groups,
    "orc": orc_groups,
    "arrow": arrow_groups,
}
