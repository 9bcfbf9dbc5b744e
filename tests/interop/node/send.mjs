// Sends N metric points, log records and spans by OTLP/HTTP and prints what was acknowledged.
// usage: node send.mjs json|proto http://127.0.0.1:PORT N none|gzip
import { createRequire } from "node:module";
import { SpanKind, SpanStatusCode, TraceFlags } from "@opentelemetry/api";
import { resourceFromAttributes } from "@opentelemetry/resources";
import { MeterProvider, PeriodicExportingMetricReader } from "@opentelemetry/sdk-metrics";
import { BasicTracerProvider, BatchSpanProcessor } from "@opentelemetry/sdk-trace-base";
import { BatchLogRecordProcessor, LoggerProvider } from "@opentelemetry/sdk-logs";

const [encoding, base, text, compression] = process.argv.slice(2);
const count = Number(text);
const flavour = encoding === "json" ? "http" : "proto";
const require = createRequire(import.meta.url);
const { OTLPMetricExporter } = require(`@opentelemetry/exporter-metrics-otlp-${flavour}`);
const { OTLPTraceExporter } = require(`@opentelemetry/exporter-trace-otlp-${flavour}`);
const { OTLPLogExporter } = require(`@opentelemetry/exporter-logs-otlp-${flavour}`);

const resource = resourceFromAttributes({ "service.name": `node-${encoding}` });
const acknowledged = { metrics: 0, logs: 0, traces: 0 };
const options = (signal) => ({ url: `${base}/v1/${signal}`, compression });

// Counts what an exporter reports as delivered.
function counted(exporter, signal, items) {
  const send = exporter.export.bind(exporter);
  exporter.export = (batch, done) =>
    send(batch, (result) => {
      if (result.code === 0) acknowledged[signal] += items(batch);
      else console.error(signal, result.error?.message);
      done(result);
    });
  return exporter;
}

const points = (batch) =>
  batch.scopeMetrics.flatMap((s) => s.metrics).reduce((n, m) => n + m.dataPoints.length, 0);

const metrics = new MeterProvider({
  resource,
  readers: [
    new PeriodicExportingMetricReader({
      exporter: counted(new OTLPMetricExporter(options("metrics")), "metrics", points),
      exportIntervalMillis: 3_600_000,
    }),
  ],
});
const meter = metrics.getMeter("interop");
const counter = meter.createCounter("requests", { unit: "1", valueType: 0 });
const histogram = meter.createHistogram("latency", { unit: "s" });
const gauge = meter.createGauge("level");
for (let i = 0; i < count; i++) {
  counter.add(Number.MAX_SAFE_INTEGER - i, { number: i });
  histogram.record(i / 7, { number: i });
}
[-0.5, 1e300, 5e-324].forEach((value, i) => gauge.record(value, { number: i }));

const traces = new BasicTracerProvider({
  resource,
  spanProcessors: [
    new BatchSpanProcessor(
      counted(new OTLPTraceExporter(options("traces")), "traces", (b) => b.length),
    ),
  ],
});
const logs = new LoggerProvider({
  resource,
  processors: [
    new BatchLogRecordProcessor({
      exporter: counted(new OTLPLogExporter(options("logs")), "logs", (b) => b.length),
    }),
  ],
});
const linked = {
  traceId: "00000000000000000000000000000007",
  spanId: "0000000000000008",
  traceFlags: TraceFlags.SAMPLED,
};
const tracer = traces.getTracer("interop");
for (let i = 0; i < count; i++) {
  const span = tracer.startSpan(`span ${i}`, {
    kind: SpanKind.CLIENT,
    attributes: { number: i },
    links: [{ context: linked }],
    startTime: [1_700_000_000, 1],
  });
  span.addEvent("happened", { at: i });
  span.setStatus({ code: SpanStatusCode.ERROR, message: "broken" });
  span.end([1_700_000_001, 2 + i]);
  logs.getLogger("interop").emit({
    timestamp: [1_700_000_000, 123_456_789 + i],
    body: `message ${i} ✓ 𝄞`,
    severityNumber: 9,
    severityText: "INFO",
    attributes: { number: i, yes: true, half: 0.5, list: ["a", "b"] },
  });
}
await Promise.all([metrics.forceFlush(), traces.forceFlush(), logs.forceFlush()]);
await Promise.all([metrics.shutdown(), traces.shutdown(), logs.shutdown()]);
console.log(JSON.stringify(acknowledged));
