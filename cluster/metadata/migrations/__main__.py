"""Print the operations that bring a freshly migrated database to `schema.py`: the body of the next migration."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from alembic.autogenerate import produce_migrations, render_python_code
from alembic.migration import MigrationContext
from sqlalchemy import create_engine

from cluster.metadata.migrate import migrate
from cluster.metadata.schema import Base


def difference() -> str:
    """Python code of the missing operations, for `upgrade()`."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "empty.db"
        migrate(f"sqlite+aiosqlite:///{path}")
        with create_engine(f"sqlite:///{path}").connect() as connection:
            context = MigrationContext.configure(connection, opts={"compare_type": True, "render_as_batch": True})
            operations = produce_migrations(context, Base.metadata).upgrade_ops
            assert operations is not None
            return render_python_code(operations, render_as_batch=True)


if __name__ == "__main__":
    sys.stdout.write(difference() + "\n")
