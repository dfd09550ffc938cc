"""Any database that SQLAlchemy can await: a pool of a few connections that comes back by itself.

=============  =======================================================================
`engine`       loans, transactions, what is retried, reconnecting
`connect`      an `AsyncEngine` from a URL, and how transactions go on its dialect
`faults`       what SQLAlchemy and the DBAPI modules raise, as five facts
`tables`       every table of Holdfast, and the metadata that tools are given
`ledger`       which migrations a database has, and how it gets those that it lacks
`clock`        whose time it is
`notes`        what processes tell each other through a table
`findings`     what `holdfast doctor` says of the database
=============  =======================================================================
"""

from holdfast.engines.sqlalchemy.connect import OPTIONS, engine_for
from holdfast.engines.sqlalchemy.engine import SQLAlchemyEngine, StatementRefused

__all__ = ["OPTIONS", "SQLAlchemyEngine", "StatementRefused", "engine_for"]
