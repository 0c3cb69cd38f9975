#!/usr/bin/env node
import { program } from './gateway-program.ts';
import { main } from './main.ts';

main(program);
