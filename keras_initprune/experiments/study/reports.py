def write_reports(*a):
    return []
