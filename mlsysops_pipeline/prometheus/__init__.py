"""What exporters to Prometheus share: names, labels, formats, and the translation of OTLP metrics.

``names``        metric, label and unit names (conformance PO-1 to PO-4).
``escaping``     names for readers that cannot take any UTF-8 (ES-1).
``negotiation``  the format of a page from an ``Accept`` header (NG-1, NG-2).
``labels``       attributes, resources and scopes as labels (PO-11 to PO-14).
``points``       what a translation gives.
``exposition``   pages in text 0.0.4 and OpenMetrics, read (TX-1 to OM-5).
``translate``    from serialized OTLP requests to points of canonical series.

Pure: no I/O, no clock, no asyncio.
"""
