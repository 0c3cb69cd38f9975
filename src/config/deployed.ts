import { faultLine } from './faults.ts';
import { readText } from './files.ts';
import { parseJson } from './json-text.ts';
import { type Layer, readFile } from './layers.ts';
import type { Notice } from './resolve.ts';

/** Files of the software that devices in the field have run so far. */
export interface DeployedFiles {
  /** The first that is there and usable counts. */
  readonly meeting: readonly string[];
  /** Gives the device key where the file above does not. */
  readonly deviceInfo: string;
}

export const DEPLOYED_FILES: DeployedFiles = {
  meeting: ['/etc/rpi-cam/meeting.json', '/opt/rpi-cam-webmanager/meeting.json'],
  deviceInfo: '/etc/meeting/device_info.json',
};

type Fields = Readonly<Record<string, unknown>>;

/**
 * The layers of the deployed files, the weakest first. What is wrong in them is a notice and never a fault: nobody
 * edits these files any more, and they must not keep a device from pairing. Keys that we do not use are ignored.
 */
export async function readDeployed(files: DeployedFiles): Promise<{ layers: Layer[]; notices: Notice[] }> {
  const notices: Notice[] = [];
  const info = await readLayer(files.deviceInfo, notices, ({ device_key }) => ({ meeting: { deviceKey: device_key } }));
  for (const path of files.meeting) {
    const meeting = await readLayer(path, notices, meetingContent);
    if (meeting !== null) return { layers: info === null ? [meeting] : [info, meeting], notices };
  }
  return { layers: info === null ? [] : [info], notices };
}

function meetingContent(fields: Fields): unknown {
  const { device_key, token_code, tunnel_host, tunnel_port, tunnel_ssl } = fields;
  return {
    meeting: {
      deviceKey: device_key,
      token: token_code,
      proxy: { host: tunnel_host, port: tunnel_port, tls: tunnel_ssl },
    },
  };
}

async function readLayer(
  path: string,
  notices: Notice[],
  toContent: (fields: Fields) => unknown,
): Promise<Layer | null> {
  const notice = (why: string) =>
    notices.push({ code: 'config.deployed-broken', sentence: `Ignored in the deployed file ${path}: ${why}` });
  const file = await readText(path, 64 * 1024);
  if (file.state === 'absent') return null;
  if (file.state === 'unusable') {
    notice(`all of it, expected is ${file.expected}`);
    return null;
  }
  const parsed = parseJson(file.text);
  if ('fault' in parsed) {
    const { line, column, expected } = parsed.fault;
    notice(`all of it, expected in line ${line}, column ${column} is ${expected}`);
    return null;
  }
  if (typeof parsed.value !== 'object' || parsed.value === null || Array.isArray(parsed.value)) {
    notice('all of it, expected is a JSON object');
    return null;
  }
  // Python writes null for what is not set.
  const fields = Object.fromEntries(Object.entries(parsed.value).filter(([, value]) => value !== null));
  const layer = readFile(toContent(fields), 'deployed', path);
  for (const fault of layer.faults) notice(faultLine(fault));
  return { ...layer, faults: [], refused: new Set() };
}
