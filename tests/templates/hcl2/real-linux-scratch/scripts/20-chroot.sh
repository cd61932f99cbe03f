#!/bin/bash
partprobe /dev/sda
