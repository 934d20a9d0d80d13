"""Jobs are claimed user by user: their turn in the tier, and how many jobs of their owner were there before."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; jobs that wait already share one turn, so they go on in order of arrival."""
    op.add_column("jobs", sa.Column("turn", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("jobs", sa.Column("place", sa.Integer(), nullable=False, server_default="0"))
    op.create_index(op.f("ix_jobs_state_tier_turn_seq"), "jobs", ["state", "tier", "turn", "seq"])


def downgrade() -> None:
    """Drop them: jobs are claimed in order of arrival again."""
    op.drop_index(op.f("ix_jobs_state_tier_turn_seq"), table_name="jobs")
    op.drop_column("jobs", "place")
    op.drop_column("jobs", "turn")
