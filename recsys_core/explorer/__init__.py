"""The interest explorer: pages that let a person look up users, topics, nights and models in the warehouse.

    app = create_app(source, titles, gate)          # recsys_core.explorer.app: any ASGI server serves it; Airflow does, as a plugin

Reads only. A request is some queries of `sql/explorer` (reads), dataclasses made of their rows (people, topics, models) and a template
(pages). There is no script on any page, every text is escaped, and what is sensitive is in no row that is read.
"""
