/** An OTLP/HTTP receiver on port 4318 that appends each request as a line to a file, as the collector's file exporter does: `otlp-receiver.ts FILE`. */
import { appendFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { gunzipSync } from 'node:zlib';

const [file = ''] = process.argv.slice(2);
createServer((request, response) => {
  const parts: Buffer[] = [];
  request.on('data', (part: Buffer) => parts.push(part));
  request.on('end', () => {
    const bytes = Buffer.concat(parts);
    appendFileSync(file, `${request.headers['content-encoding'] === 'gzip' ? gunzipSync(bytes) : bytes}\n`);
    response.writeHead(200, { 'Content-Type': 'application/json' }).end('{}');
  });
}).listen(4318);
