import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { type Job, startJob } from './jobs.ts';

/** A pod's application: `app.ts CONFIG.json`. An HTTP server on `httpPort`, if any, and clients that repeat their jobs for ever. */
export interface AppConfig {
  name: string;
  httpPort?: number;
  jobs: Job[];
}

const config = JSON.parse(readFileSync(process.argv[2] ?? '', 'utf8')) as AppConfig;

if (config.httpPort !== undefined) {
  const page = `guestbook, served by ${config.name}\n`;
  createServer((_request, response) => {
    response.writeHead(200, { 'content-type': 'text/plain', connection: 'close' }).end(page);
  }).listen(config.httpPort, '::');
}
// Each client starts at its own moment, so that the traffic of all pods is steady and not a burst each second.
for (const [index, job] of config.jobs.entries()) setTimeout(() => startJob(job), (index * 137) % job.everyMs);
