import { once } from 'node:events';
import { request } from 'node:http';

/** The body that is answered on a unix socket. */
export async function unixGet(socketPath: string, path: string): Promise<string> {
  const asked = request({ socketPath, path, agent: false });
  asked.end();
  const [response] = await once(asked, 'response');
  let body = '';
  for await (const chunk of response) body += chunk;
  return body;
}
