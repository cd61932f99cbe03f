#!/bin/bash
rpm -qa > /tmp/packages
