"""Any database that SQLAlchemy can await: a pool of a few connections that comes back by itself.

=============  =======================================================================
`engine`       loans, transactions, what is retried, reconnecting
`connect`      an `AsyncEngine` from a URL, and how transactions go on its dialect
`faults`       what SQLAlchemy and the DBAPI modules raise, as five facts
=============  =======================================================================
"""

from holdfast.engines.sqlalchemy.connect import OPTIONS, engine_for
from holdfast.engines.sqlalchemy.engine import SQLAlchemyEngine, StatementRefused

__all__ = ["OPTIONS", "SQLAlchemyEngine", "StatementRefused", "engine_for"]
