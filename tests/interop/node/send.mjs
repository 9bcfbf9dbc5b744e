// Sends N metric points, log records and spans by OTLP/HTTP and prints what was acknowledged.
// usage: node send.mjs json|proto http://127.0.0.1:PORT N
import { createRequire } from "node:module";
import { resourceFromAttributes } from "@opentelemetry/resources";
import { MeterProvider, PeriodicExportingMetricReader } from "@opentelemetry/sdk-metrics";
import { BasicTracerProvider, SimpleSpanProcessor } from "@opentelemetry/sdk-trace-base";
import { LoggerProvider, SimpleLogRecordProcessor } from "@opentelemetry/sdk-logs";

const [encoding, base, text] = process.argv.slice(2);
const count = Number(text);
const flavour = encoding === "json" ? "http" : "proto";
const require = createRequire(import.meta.url);
const { OTLPMetricExporter } = require(`@opentelemetry/exporter-metrics-otlp-${flavour}`);
const { OTLPTraceExporter } = require(`@opentelemetry/exporter-trace-otlp-${flavour}`);
const { OTLPLogExporter } = require(`@opentelemetry/exporter-logs-otlp-${flavour}`);

const resource = resourceFromAttributes({ "service.name": `node-${encoding}` });
const acknowledged = { metrics: 0, logs: 0, traces: 0 };

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
      exporter: counted(new OTLPMetricExporter({ url: `${base}/v1/metrics` }), "metrics", points),
      exportIntervalMillis: 3_600_000,
    }),
  ],
});
const counter = metrics.getMeter("interop").createCounter("requests", { unit: "1" });
const histogram = metrics.getMeter("interop").createHistogram("latency", { unit: "s" });
for (let i = 0; i < count; i++) {
  counter.add(2 ** 40 + i, { number: i });
  histogram.record(i / 7, { number: i });
}

const traces = new BasicTracerProvider({
  resource,
  spanProcessors: [
    new SimpleSpanProcessor(
      counted(new OTLPTraceExporter({ url: `${base}/v1/traces` }), "traces", (b) => b.length),
    ),
  ],
});
const logs = new LoggerProvider({
  resource,
  processors: [
    new SimpleLogRecordProcessor({
      exporter: counted(new OTLPLogExporter({ url: `${base}/v1/logs` }), "logs", (b) => b.length),
    }),
  ],
});
for (let i = 0; i < count; i++) {
  traces.getTracer("interop").startSpan(`span ${i}`, { attributes: { number: i } }).end();
  logs.getLogger("interop").emit({ body: `message ${i}`, severityNumber: 9, attributes: { number: i } });
}
await Promise.all([metrics.forceFlush(), traces.forceFlush(), logs.forceFlush()]);
await Promise.all([metrics.shutdown(), traces.shutdown(), logs.shutdown()]);
console.log(JSON.stringify(acknowledged));
