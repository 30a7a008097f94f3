import { join } from 'node:path';
import { writeAtomically } from '../machine/state.ts';
import { serveApi } from './server.ts';

/** The API server's process: `main.ts LAB DIRECTORY PORT`. Writes the port it answers under to `api.json` when it is ready. */
const [lab = '', directory = '', port = '0'] = process.argv.slice(2);
const server = await serveApi(lab, directory, Number(port));
writeAtomically(join(directory, 'api.json'), JSON.stringify({ port: server.port, pid: process.pid }));
process.on('SIGTERM', () => {
  server.close();
  process.exit(0);
});
