-- Where a job stands in the trace of its book (W3C's traceparent), so that whoever publishes it continues that trace.
ALTER TABLE jobs ADD COLUMN trace_context text;
