import { faultLine } from './faults.ts';
import { readText } from './files.ts';
import { parseJson } from './json-text.ts';
import { type Layer, readNamed } from './layers.ts';
import type { OptionKey } from './options.ts';
import type { Notice } from './resolve.ts';

const DEPLOYED_LIMIT_BYTES = 64 * 1024;

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

const MEETING_NAMES: ReadonlyMap<string, OptionKey> = new Map([
  ['device_key', 'meeting.deviceKey'],
  ['token_code', 'meeting.token'],
  ['tunnel_host', 'meeting.proxy.host'],
  ['tunnel_port', 'meeting.proxy.port'],
  ['tunnel_ssl', 'meeting.proxy.tls'],
  ['api_url', 'meeting.api.url'],
  ['heartbeat_interval', 'meeting.api.heartbeatSeconds'],
]);
const DEVICE_INFO_NAMES: ReadonlyMap<string, OptionKey> = new Map([['device_key', 'meeting.deviceKey']]);

/**
 * The layers of the deployed files, the weakest first. What is wrong in them is a notice and never a fault: nobody
 * edits these files any more, and they must not keep a device from pairing. Keys that we do not use are ignored.
 */
export async function readDeployed(files: DeployedFiles): Promise<{ layers: Layer[]; notices: Notice[] }> {
  const notices: Notice[] = [];
  const layers: Layer[] = [];
  const info = await readLayer(files.deviceInfo, DEVICE_INFO_NAMES, notices);
  if (info !== null) layers.push(info);
  for (const path of files.meeting) {
    const meeting = await readLayer(path, MEETING_NAMES, notices);
    if (meeting === null) continue;
    layers.push(meeting);
    break;
  }
  return { layers, notices };
}

async function readLayer(
  path: string,
  names: ReadonlyMap<string, OptionKey>,
  notices: Notice[],
): Promise<Layer | null> {
  const ignore = (what: string) => {
    notices.push({ code: 'config.deployed-broken', sentence: `Ignored in the deployed file ${path}: ${what}` });
    return null;
  };
  const file = await readText(path, DEPLOYED_LIMIT_BYTES);
  if (file.state === 'absent') return null;
  if (file.state === 'unusable') return ignore(`everything; it is not ${file.expected}`);
  const parsed = parseJson(file.text);
  if ('fault' in parsed) {
    const { line, column, expected } = parsed.fault;
    return ignore(`everything; it is not JSON: in line ${line}, column ${column} the parser expected ${expected}`);
  }
  if (typeof parsed.value !== 'object' || parsed.value === null || Array.isArray(parsed.value)) {
    return ignore('everything; it is not a JSON object');
  }
  // Software in Python writes null for what is not set.
  const values = Object.fromEntries(Object.entries(parsed.value).filter(([, value]) => value !== null));
  const layer = readNamed(names, values, 'deployed', path);
  for (const fault of layer.faults) ignore(faultLine(fault));
  return { ...layer, faults: [], refused: new Set() };
}
