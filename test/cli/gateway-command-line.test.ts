import { GATEWAY_PROGRAM, tunnelGateway } from '../support/gateway.ts';
import { type Program, testCommandLine, testWrong } from './support.ts';

const GATEWAY: Program = {
  name: 'tunnel-gateway',
  run: tunnelGateway,
  path: GATEWAY_PROGRAM,
  section: /\n## The gateway\n[\s\S]*?\n## /,
};

testCommandLine(GATEWAY);

testWrong(GATEWAY, [
  ['no command', [], /^Usage: tunnel-gateway/],
  ['no command of a group', ['device'], /^Usage: tunnel-gateway device/],
  ['an unknown command', ['stop'], /unknown command 'stop'/],
  ['an unknown option', ['sessions', '--yaml'], /unknown option '--yaml'/],
  ['an argument too many', ['serve', 'now'], /too many arguments/],
  ['no device', ['device', 'show'], /missing required argument 'key'/],
  ['a device key that is none', ['device', 'show', '../etc'], /"..\/etc" is no device key: 1 to 64 letters/],
  ['a device key that is too long', ['logs', 'x'.repeat(65)], /is no device key/],
  ['a new device with a key that is none', ['device', 'add', '--key', 'a b'], /"a b" is no device key/],
  ['a removal where nobody can be asked', ['device', 'remove', 'a'], /option '--yes' is needed/],
  ['a token as an argument', ['token', 'rotate', 'a', 'b'], /too many arguments/],
  ['a token file without its device', ['device', 'add', '--token-code-file', '/x'], /--token-code-file needs --key/],
  ['a distribution without its device', ['device', 'add', '--distribution', 'x'], /--distribution needs --key/],
  ['a token file for the tunnel token', ['token', 'rotate', 'a', '--token-code-file', '-'], /needs --meeting/],
  ['no services', ['forwards', 'set', 'a'], /missing required argument 'services'/],
  ['a service that is none', ['forwards', 'set', 'a', 'SSH=22'], /"SSH=22" is no service/],
  ['a service with a port that is none', ['forwards', 'set', 'a', 'ssh=0'], /a port is a whole number/],
  ['minutes that are none', ['pause', 'a', 'ten'], /minutes are a number above 0/],
  ['no minutes', ['pause', 'a', '0'], /minutes are a number above 0/],
  ['a port of a relay that is none', ['open', 'a', 'relay', '--port', '99999'], /a port is a whole number/],
  ['a blocked port that is none', ['ports', 'release', 'all'], /a port is a whole number/],
]);
