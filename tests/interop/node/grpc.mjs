// A client or a server of unary gRPC with @grpc/grpc-js, for bytes that somebody else makes.
// usage: node grpc.mjs client 127.0.0.1:PORT identity|deflate|gzip [CA]  < calls
//        node grpc.mjs server 127.0.0.1:PORT PATH...
// One JSON object a line. Calls: {path, body, timeout_ms, metadata}; the client says {code,
// message, body} of each, in order. The server says {path, body}, and answers with
// nothing, unless the body begins with "fail".
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import grpc from "@grpc/grpc-js";

const [role, address, ...rest] = process.argv.slice(2);
const same = (bytes) => bytes;
const say = (what) => console.log(JSON.stringify(what));

async function call(client, { path, body, timeout_ms = 10_000, metadata = {} }) {
  const fields = new grpc.Metadata();
  for (const [name, value] of Object.entries(metadata))
    fields.add(name, name.endsWith("-bin") ? Buffer.from(value, "base64") : value);
  const options = { deadline: Date.now() + timeout_ms };
  return new Promise((done) =>
    client.makeUnaryRequest(
      path, same, same, Buffer.from(body, "base64"), fields, options,
      (error, answer) =>
        done({
          code: error?.code ?? 0,
          message: error?.details ?? "",
          body: answer?.toString("base64") ?? "",
        }),
    ),
  );
}

async function runClient([compression, ca]) {
  const credentials = ca
    ? grpc.credentials.createSsl(readFileSync(ca))
    : grpc.credentials.createInsecure();
  const algorithm = ["identity", "deflate", "gzip"].indexOf(compression);
  const client = new grpc.Client(address, credentials, {
    "grpc.default_compression_algorithm": algorithm,
  });
  for await (const line of createInterface({ input: process.stdin }))
    say(await call(client, JSON.parse(line)));
  client.close();
}

function runServer(paths) {
  const server = new grpc.Server({ "grpc.max_receive_message_length": -1 });
  for (const path of paths) {
    const method = {
      path,
      requestStream: false,
      responseStream: false,
      requestSerialize: same,
      requestDeserialize: same,
      responseSerialize: same,
      responseDeserialize: same,
    };
    const handle = (request, done) => {
      const body = request.request;
      say({ path, body: body.toString("base64") });
      if (body.subarray(0, 4).toString() !== "fail") return done(null, Buffer.alloc(0));
      const metadata = new grpc.Metadata();
      metadata.set("grpc-status-details-bin", Buffer.from("details"));
      done({ code: grpc.status.UNAVAILABLE, details: "100 % müde", metadata });
    };
    server.addService({ method }, { method: handle });
  }
  server.bindAsync(address, grpc.ServerCredentials.createInsecure(), (error) => {
    if (error) throw error;
  });
  process.on("SIGTERM", () => server.tryShutdown(() => process.exit(0)));
}

if (role === "client") await runClient(rest);
else runServer(rest);
