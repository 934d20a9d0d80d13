"""Registered works, and what of them was found in videos."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table and the column."""
    op.create_table(
        "works",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("title", sa.String(length=500), nullable=False),
        sa.Column("video_id", sa.String(length=32), nullable=False),
        sa.Column("duration_ms", sa.BigInteger(), nullable=True),
        sa.Column("pictures", sa.Integer(), nullable=False),
        sa.Column("words", sa.Integer(), nullable=False),
        sa.Column("created_by", sa.String(length=200), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_works")),
        sa.UniqueConstraint("video_id", name=op.f("uq_works_video_id")),
    )
    with op.batch_alter_table("videos") as videos:
        videos.add_column(sa.Column("known_content", sa.JSON(none_as_null=True), nullable=True))


def downgrade() -> None:
    """Drop both: works must be registered again."""
    with op.batch_alter_table("videos") as videos:
        videos.drop_column("known_content")
    op.drop_table("works")
