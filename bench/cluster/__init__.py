"""The cluster measured: shaped links beside emulated ones, and jobs on a head that does not have aiflow."""
