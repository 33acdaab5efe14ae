typedef int cpu_instance_placeholder;
