#Requires -Version 5.1
<#
.SYNOPSIS
Checks whether NMSlite can read this machine with a non-administrator account, and with -Apply sets it up.

.DESCRIPTION
Without -Apply nothing is changed: the script prints a table of checks. With -Apply it changes what is MISSING and
can be changed safely, and says so for each. A second run finds everything OK. What it changes is noted in the registry
under HKLM:\SOFTWARE\NMSlite\Monitoring, so that -Undo takes back that and nothing else.

It creates no account, sets no password, loosens no encryption or authentication setting, does not touch UAC, and starts
nothing but the WinRM service. docs/windows.md explains each section.

Status of a check:
  OK       as it should be
  MISSING  not as it should be; the detail says what to do
  CHANGED  this run has changed it
  NOTE     worth knowing, and no obstacle

Exit code: 0 when nothing is MISSING, else 1.

.PARAMETER Account
The user that NMSlite signs in as or, better in a domain, a group that the user is in: DOMAIN\name, .\name for an
account of this machine, or a SID.

.PARAMETER ServerAddress
Addresses of the NMSlite servers (no networks). The firewall rules let in these and nobody else.

.PARAMETER WinRM
Set up WinRM over HTTP, port 5985. NMSlite encrypts its messages there by itself (credential type winrm_ntlm).

.PARAMETER WinRMHttps
Set up WinRM over HTTPS, port 5986.

.PARAMETER WMI
Set up WMI over DCOM: port 135 and the dynamic port of the WMI service.

.PARAMETER CertificateThumbprint
The certificate in Cert:\LocalMachine\My for HTTPS. Left out, a listener keeps the one that it has, and a new one gets
the longest valid certificate for server authentication in this machine's name.

.PARAMETER Apply
Change what is MISSING. -WhatIf and -Confirm work with it.

.PARAMETER Undo
Show what earlier runs have changed; with -Apply, take it back. The other parameters are not needed.

.EXAMPLE
.\Enable-NMSliteMonitoring.ps1 -Account CORP\nmslite-readers -ServerAddress 192.0.2.5 -WinRM
Checks, and changes nothing.

.EXAMPLE
.\Enable-NMSliteMonitoring.ps1 -Account CORP\nmslite-readers -ServerAddress 192.0.2.5 -WinRM -Apply

.EXAMPLE
.\Enable-NMSliteMonitoring.ps1 -Undo -Apply
#>
[CmdletBinding(SupportsShouldProcess = $true)]
param(
    [string] $Account,
    [string[]] $ServerAddress,
    [switch] $WinRM,
    [switch] $WinRMHttps,
    [switch] $WMI,
    [string] $CertificateThumbprint,
    [switch] $Apply,
    [switch] $Undo
)

Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'

# ---------------------------------------------------------------------------------------------------------------------
# 1. Facts: what NMSlite needs. docs/windows.md names the same.

# Groups by SID, since their names differ by Windows' language.
$GroupRemoteManagementUsers = 'S-1-5-32-580'     # Remote Management Users
$GroupPerformanceMonitorUsers = 'S-1-5-32-558'   # Performance Monitor Users
$GroupDistributedComUsers = 'S-1-5-32-562'       # Distributed COM Users
$GroupAdministrators = 'S-1-5-32-544'            # Administrators

# The only WMI namespace that is read, and the classes in it.
$Namespace = 'root\cimv2'
$Classes = @(
    'Win32_OperatingSystem'
    'Win32_LogicalDisk'
    'Win32_PerfRawData_PerfOS_Processor'
    'Win32_PerfRawData_Tcpip_NetworkInterface'
    'Win32_ComputerSystem'
)

# Rights on the namespace: Enable Account (0x1) and Remote Enable (0x20). Neither writing nor running methods.
$NamespaceRights = 0x21

$PortHttp = 5985
$PortHttps = 5986
$PortEndpointMapper = 135

# Extended key usage "server authentication".
$ServerAuthentication = '1.3.6.1.5.5.7.3.1'

# What this script changed: only administrators can write here, so nobody can plant something for -Undo to take away.
$StateKey = 'HKLM:\SOFTWARE\NMSlite\Monitoring'

# ---------------------------------------------------------------------------------------------------------------------
# 2. Helpers.

$script:Rows = New-Object System.Collections.ArrayList
$script:Cmdlet = $PSCmdlet

# One line of the table.
function Add-Row($Check, $Status, $Detail) {
    [void] $script:Rows.Add([pscustomobject]@{ Status = $Status; Check = $Check; Detail = $Detail })
}

# A check that can be put right. The block runs with -Apply only, and not with -WhatIf.
function Invoke-Check($Check, $Present, $Detail, $Action, $Change) {
    if ($Present) { Add-Row $Check 'OK' $Detail; return }
    if (-not $script:Apply) { Add-Row $Check 'MISSING' "$Detail; -Apply would: $Action"; return }
    if (-not $script:Cmdlet.ShouldProcess($Check, $Action)) { Add-Row $Check 'MISSING' $Detail; return }
    try {
        [void] (& $Change)
        Add-Row $Check 'CHANGED' $Action
    } catch {
        Add-Row $Check 'MISSING' "$Action failed: $($_.Exception.Message)"
    }
}

# A check that a person has to put right.
function Add-Finding($Check, $Good, $GoodDetail, $Remedy) {
    if ($Good) { Add-Row $Check 'OK' $GoodDetail } else { Add-Row $Check 'MISSING' "by hand: $Remedy" }
}

# Notes a change for -Undo. A note that is there stays: it knows the state before the first change.
function Save-Change($Name, $Value) {
    if (-not (Test-Path -LiteralPath $StateKey)) { [void] (New-Item -Path $StateKey -Force) }
    if ($null -eq (Get-RegistryValue $StateKey $Name)) {
        [void] (New-ItemProperty -LiteralPath $StateKey -Name $Name -Value ([string] $Value) -PropertyType String)
    }
}

# A registry value, or $null without key or value.
function Get-RegistryValue($Path, $Name) {
    if (-not (Test-Path -LiteralPath $Path)) { return $null }
    return (Get-Item -LiteralPath $Path).GetValue($Name, $null)
}

# A SID for DOMAIN\name, .\name, name@domain or a SID.
function Resolve-Sid($Name) {
    if ($Name -match '^S-1-') { return New-Object System.Security.Principal.SecurityIdentifier($Name) }
    $full = $Name -replace '^\.\\', "$env:COMPUTERNAME\"
    $ntAccount = New-Object System.Security.Principal.NTAccount($full)
    return $ntAccount.Translate([System.Security.Principal.SecurityIdentifier])
}

# The name of an account in this Windows' language, or the SID of one that is gone.
function Resolve-Name($Sid) {
    try {
        $identifier = New-Object System.Security.Principal.SecurityIdentifier($Sid)
        return $identifier.Translate([System.Security.Principal.NTAccount]).Value
    } catch {
        return $Sid
    }
}

# A group of this machine through ADSI, which also works on domain controllers and with members that no longer exist.
function Get-Group($GroupSid) {
    $name = (Resolve-Name $GroupSid).Split('\')[-1]
    return [ADSI] "WinNT://$env:COMPUTERNAME/$name,group"
}

# Whether the account itself is in the group; groups within groups are not followed.
function Test-GroupMember($GroupSid, $MemberSid) {
    $group = Get-Group $GroupSid
    foreach ($member in @($group.psbase.Invoke('Members'))) {
        $bytes = [byte[]] $member.GetType().InvokeMember('objectSid', 'GetProperty', $null, $member, $null)
        $sid = New-Object System.Security.Principal.SecurityIdentifier($bytes, 0)
        if ($sid.Value -eq $MemberSid) { return $true }
    }
    return $false
}

function Add-GroupMember($GroupSid, $MemberSid) {
    (Get-Group $GroupSid).psbase.Invoke('Add', "WinNT://$MemberSid")
}

function Remove-GroupMember($GroupSid, $MemberSid) {
    (Get-Group $GroupSid).psbase.Invoke('Remove', "WinNT://$MemberSid")
}

# Which of these rights the access list grants to the given SIDs. Denied ones are taken off.
function Get-GrantedMask($Descriptor, $Sids) {
    $granted = 0
    $denied = 0
    if ($null -eq $Descriptor.DiscretionaryAcl) { return -1 }
    foreach ($ace in $Descriptor.DiscretionaryAcl) {
        if ($ace -isnot [System.Security.AccessControl.CommonAce]) { continue }
        if ($ace.AceFlags -band [System.Security.AccessControl.AceFlags]::InheritOnly) { continue }
        if ($Sids -notcontains $ace.SecurityIdentifier.Value) { continue }
        if ($ace.AceQualifier -eq [System.Security.AccessControl.AceQualifier]::AccessAllowed) {
            $granted = $granted -bor $ace.AccessMask
        } elseif ($ace.AceQualifier -eq [System.Security.AccessControl.AceQualifier]::AccessDenied) {
            $denied = $denied -bor $ace.AccessMask
        }
    }
    return $granted -band (-bnot $denied)
}

# The security descriptor of the WMI namespace.
function Get-NamespaceSecurity {
    $answer = Invoke-CimMethod -Namespace $Namespace -ClassName '__SystemSecurity' -MethodName 'GetSD'
    if ($answer.ReturnValue -ne 0) { throw "GetSD on $Namespace answered $($answer.ReturnValue)" }
    return New-Object System.Security.AccessControl.RawSecurityDescriptor([byte[]] $answer.SD, 0)
}

function Set-NamespaceSecurity($Descriptor) {
    $bytes = New-Object byte[] $Descriptor.BinaryLength
    $Descriptor.GetBinaryForm($bytes, 0)
    $answer = Invoke-CimMethod -Namespace $Namespace -ClassName '__SystemSecurity' -MethodName 'SetSD' `
        -Arguments @{ SD = $bytes }
    if ($answer.ReturnValue -ne 0) { throw "SetSD on $Namespace answered $($answer.ReturnValue)" }
}

# Adds an entry for this namespace alone: namespaces below it do not inherit it.
function Grant-Namespace($Sid, $Mask) {
    $descriptor = Get-NamespaceSecurity
    if ($null -eq $descriptor.DiscretionaryAcl) { throw "$Namespace has no access list; look at it in wmimgmt.msc" }
    $identifier = New-Object System.Security.Principal.SecurityIdentifier($Sid)
    $ace = New-Object System.Security.AccessControl.CommonAce(
        [System.Security.AccessControl.AceFlags]::None,
        [System.Security.AccessControl.AceQualifier]::AccessAllowed, $Mask, $identifier, $false, $null)
    # Behind denying entries and before inherited ones, where Windows expects it.
    $index = 0
    while ($index -lt $descriptor.DiscretionaryAcl.Count) {
        $other = $descriptor.DiscretionaryAcl[$index]
        if ($other.IsInherited) { break }
        if ($other -is [System.Security.AccessControl.CommonAce] -and
            $other.AceQualifier -ne [System.Security.AccessControl.AceQualifier]::AccessDenied) { break }
        $index++
    }
    $descriptor.DiscretionaryAcl.InsertAce($index, $ace)
    Set-NamespaceSecurity $descriptor
}

# Takes rights from the account's own entries; an entry without any left is removed.
function Revoke-Namespace($Sid, $Mask) {
    $descriptor = Get-NamespaceSecurity
    $acl = $descriptor.DiscretionaryAcl
    for ($index = $acl.Count - 1; $index -ge 0; $index--) {
        $ace = $acl[$index]
        if ($ace -isnot [System.Security.AccessControl.CommonAce] -or $ace.IsInherited) { continue }
        if ($ace.AceQualifier -ne [System.Security.AccessControl.AceQualifier]::AccessAllowed) { continue }
        if ($ace.SecurityIdentifier.Value -ne $Sid) { continue }
        $left = $ace.AccessMask -band (-bnot $Mask)
        if ($left -eq 0) {
            $acl.RemoveAce($index)
        } elseif ($left -ne $ace.AccessMask) {
            $ace.AccessMask = $left
            $acl[$index] = $ace
        }
    }
    Set-NamespaceSecurity $descriptor
}

# The WinRM listeners of one transport. They can be read only while the service runs.
function Get-Listener($Transport) {
    return @(Get-WSManInstance -ResourceURI 'winrm/config/Listener' -Enumerate |
            Where-Object { $_.Transport -eq $Transport -and $_.Enabled -eq 'true' })
}

# The names in a certificate, and whether one of them is this machine's.
function Get-CertificateName($Certificate) {
    return @($Certificate.DnsNameList | ForEach-Object { $_.Unicode } | Where-Object { $_ })
}

function Test-Certificate($Certificate) {
    $usages = @($Certificate.EnhancedKeyUsageList | ForEach-Object { $_.ObjectId })
    $now = Get-Date
    return $Certificate.HasPrivateKey -and $Certificate.NotBefore -le $now -and $Certificate.NotAfter -gt $now -and
        $usages -contains $ServerAuthentication
}

# ---------------------------------------------------------------------------------------------------------------------
# 3. Checks of the parameters, before anything is looked at.

$identity = [System.Security.Principal.WindowsIdentity]::GetCurrent()
$principal = New-Object System.Security.Principal.WindowsPrincipal($identity)
if (-not $principal.IsInRole([System.Security.Principal.WindowsBuiltInRole]::Administrator)) {
    Write-Warning 'Run this in an elevated PowerShell: without, it can read neither WinRM nor the namespace.'
    exit 1
}

$accountSid = $null
$servers = @()
if (-not $Undo) {
    if (-not $Account -or -not $ServerAddress) {
        Write-Warning 'Give -Account and -ServerAddress, and at least one of -WinRM, -WinRMHttps and -WMI; or -Undo.'
        exit 1
    }
    if (-not ($WinRM -or $WinRMHttps -or $WMI)) {
        Write-Warning 'Give at least one of -WinRM, -WinRMHttps and -WMI.'
        exit 1
    }
    foreach ($text in $ServerAddress) {
        $address = $null
        if (-not [System.Net.IPAddress]::TryParse($text, [ref] $address)) {
            Write-Warning "-ServerAddress takes addresses such as 192.0.2.5, not '$text'."
            exit 1
        }
        $servers += $address.ToString()
    }
    try {
        $accountSid = (Resolve-Sid $Account).Value
    } catch {
        Write-Warning "There is no account '$Account': $($_.Exception.Message)"
        exit 1
    }
}

# Domain controllers have no groups of their own: theirs belong to all controllers of the domain.
$isDomainController = (Get-CimInstance -ClassName Win32_ComputerSystem -Property DomainRole).DomainRole -ge 4

# ---------------------------------------------------------------------------------------------------------------------
# 4. Sections. Each looks first, and changes through Invoke-Check only.

# 4.1 The account: in the groups that it needs, and not an administrator.
function Test-Account {
    if ($isDomainController) {
        Add-Row 'Domain controller' 'NOTE' 'group membership is that of all domain controllers of this domain'
    }
    if (Test-GroupMember $GroupAdministrators $accountSid) {
        Add-Row 'Account' 'NOTE' "$Account is an administrator here, which NMSlite does not need"
    }
    $wanted = @($GroupPerformanceMonitorUsers)
    if ($WinRM -or $WinRMHttps) { $wanted += $GroupRemoteManagementUsers }
    if ($WMI) { $wanted += $GroupDistributedComUsers }
    foreach ($groupSid in $wanted) {
        $groupName = (Resolve-Name $groupSid).Split('\')[-1]
        $isMember = Test-GroupMember $groupSid $accountSid
        $state = "$Account is a member"
        if (-not $isMember) { $state = "$Account is not a member (groups in it are not followed)" }
        Invoke-Check "Group $groupName" $isMember $state "add $Account to $groupName" {
            Add-GroupMember $groupSid $accountSid
            if (-not (Test-GroupMember $groupSid $accountSid)) { throw 'it is not there after all' }
            Save-Change "Group $groupSid $accountSid" 'added'
        }
    }
}

# 4.2 Rights on the WMI namespace: Enable Account and Remote Enable, for the account alone and for this namespace alone.
function Test-Namespace {
    $granted = (Get-GrantedMask (Get-NamespaceSecurity) @($accountSid)) -band $NamespaceRights
    $lacking = $NamespaceRights -band (-bnot $granted)
    $state = if ($lacking) { "$Account lacks rights" } else { "$Account has Enable Account and Remote Enable" }
    Invoke-Check "Namespace $Namespace" ($lacking -eq 0) $state 'grant Enable Account and Remote Enable' {
        $earlier = [int] (Get-RegistryValue $StateKey "Namespace $accountSid")
        Grant-Namespace $accountSid $lacking
        $now = (Get-GrantedMask (Get-NamespaceSecurity) @($accountSid)) -band $NamespaceRights
        # Noted first: also what turns out not to suffice, because of a denying entry, can be taken back.
        Save-Change "Namespace $accountSid" $lacking
        Set-ItemProperty -LiteralPath $StateKey -Name "Namespace $accountSid" -Value "$($earlier -bor $lacking)"
        if ($now -ne $NamespaceRights) { throw 'an entry of the access list denies them; look at it in wmimgmt.msc' }
    }
}

# 4.3 The classes that NMSlite reads, asked for as this administrator: counters can be missing for everybody.
function Test-Class {
    foreach ($class in $Classes) {
        $count = 0
        try {
            $count = @(Get-CimInstance -Namespace $Namespace -ClassName $class).Count
        } catch {
            $count = 0
        }
        $remedy = "run 'lodctr /R' in System32 and in SysWOW64, then 'winmgmt /resyncperf'"
        if ($class -notlike '*PerfRawData*') { $remedy = "check 'winmgmt /verifyrepository'" }
        Add-Finding "Class $class" ($count -gt 0) "$count instances" $remedy
    }
}

# 4.4 NTLM: NMSlite signs in with NTLMv2 and nothing else. Only looked at: such policies have their reasons.
function Test-Ntlm {
    $incoming = Get-RegistryValue 'HKLM:\SYSTEM\CurrentControlSet\Control\Lsa\MSV1_0' 'RestrictReceivingNTLMTraffic'
    $isLocal = $false
    try {
        $isLocal = (Resolve-Name $accountSid).StartsWith("$env:COMPUTERNAME\", [StringComparison]::OrdinalIgnoreCase)
    } catch {
        $isLocal = $false
    }
    $isOpen = -not $incoming -or ($incoming -eq 1 -and $isLocal)
    Add-Finding 'Policy on incoming NTLM' $isOpen 'lets this account in' (
        'the policy "Network security: Restrict NTLM: Incoming NTLM traffic" denies it; allow it for this machine')
    if ($isDomainController) {
        $netlogon = 'HKLM:\SYSTEM\CurrentControlSet\Services\Netlogon\Parameters'
        $inDomain = Get-RegistryValue $netlogon 'RestrictNTLMInDomain'
        Add-Finding 'Policy on NTLM in the domain' (-not $inDomain) 'denies nothing' (
            'the policy "Network security: Restrict NTLM: NTLM authentication in this domain" denies it; ' +
            'add the watched machines to "Add server exceptions in this domain"')
    }
    if ((Get-RegistryValue 'HKLM:\SOFTWARE\Microsoft\Windows\CurrentVersion\Policies\System' `
                'LocalAccountTokenFilterPolicy') -eq 1) {
        Add-Row 'LocalAccountTokenFilterPolicy' 'NOTE' (
            'is 1, which NMSlite does not need; it gives local administrators full rights from remote')
    }
}

# 4.5 The WinRM service, and what it lets in.
function Test-WinRMService {
    $service = Get-Service -Name WinRM
    $isOn = $service.Status -eq 'Running' -and $service.StartType -eq 'Automatic'
    Invoke-Check 'Service WinRM' $isOn "$($service.Status), $($service.StartType)" 'start it, now and at every boot' {
        Save-Change 'Service WinRM' "$($service.StartType) $($service.Status)"
        Set-Service -Name WinRM -StartupType Automatic
        Start-Service -Name WinRM
    }
    if ((Get-Service -Name WinRM).Status -ne 'Running') { return $false }

    $negotiate = (Get-Item -Path WSMan:\localhost\Service\Auth\Negotiate).Value
    Add-Finding 'WinRM allows Negotiate' ($negotiate -eq 'true') 'allowed' (
        "winrm set winrm/config/service/auth '@{Negotiate=`"true`"}', or the policy " +
        '"Disallow Negotiate authentication"')
    foreach ($name in 'AllowUnencrypted', 'Auth\Basic') {
        if ((Get-Item -Path "WSMan:\localhost\Service\$name").Value -eq 'true') {
            Add-Row "WinRM $name" 'NOTE' 'is on, which NMSlite does not need (winrm_ntlm seals its messages)'
        }
    }

    # Who may use WMI through WinRM: the plug-in's own access list, else RootSDDL. Read is what a query takes.
    $sddl = (Get-Item -Path WSMan:\localhost\Service\RootSDDL).Value
    $source = 'RootSDDL'
    $plugin = Get-RegistryValue 'HKLM:\SOFTWARE\Microsoft\Windows\CurrentVersion\WSMAN\Plugin\WMI Provider' 'ConfigXML'
    if ($plugin) {
        $resource = @(([xml] $plugin).GetElementsByTagName('Resource') |
                Where-Object { $_.GetAttribute('ResourceUri') -eq 'http://schemas.microsoft.com/wbem/wsman/1/wmi' })
        if ($resource.Count -gt 0) {
            $security = @($resource[0].GetElementsByTagName('Security'))
            if ($security.Count -gt 0) {
                $sddl = $security[0].GetAttribute('Sddl')
                $source = 'the plug-in "WMI Provider"'
            }
        }
    }
    $descriptor = New-Object System.Security.AccessControl.RawSecurityDescriptor($sddl)
    $mask = Get-GrantedMask $descriptor @($accountSid, $GroupRemoteManagementUsers)
    # GENERIC_ALL, GENERIC_READ.
    $mayRead = ($mask -band 0x10000000) -ne 0 -or ($mask -band [int]::MinValue) -ne 0
    Add-Finding 'WinRM lets the account use WMI' $mayRead "by the access list of $source" (
        "grant Read in the access list of $source; docs/windows.md tells how")
    return $true
}

# 4.6 The listener for HTTP. Not by quickconfig, which also sets LocalAccountTokenFilterPolicy.
function Test-HttpListener {
    $listeners = @(Get-Listener 'HTTP')
    $ports = @($listeners | ForEach-Object { $_.Port }) -join ', '
    $state = if ($listeners.Count) { "port $ports" } else { 'there is none' }
    Invoke-Check 'Listener HTTP' ($listeners.Count -gt 0) $state "make one on port $PortHttp" {
        [void] (New-Item -Path WSMan:\localhost\Listener -Transport HTTP -Address '*' -Force)
        Save-Change 'Listener HTTP' 'created'
    }
    Test-Firewall 'NMSlite-WinRM-HTTP-In' 'NMSlite: WinRM over HTTP' $PortHttp 'System' $null
    if ($listeners.Count -and $ports -ne "$PortHttp") {
        Add-Row 'Port of the listener HTTP' 'NOTE' "it is $ports, not $PortHttp; tell credential and firewall"
    }
}

# 4.7 The listener for HTTPS and its certificate.
function Test-HttpsListener {
    $listeners = @(Get-Listener 'HTTPS')
    $current = if ($listeners.Count) { "$($listeners[0].CertificateThumbprint)" -replace '\s' } else { '' }
    $store = @(Get-ChildItem -Path Cert:\LocalMachine\My)
    $fullName = [System.Net.Dns]::GetHostEntry('').HostName
    $wanted = $CertificateThumbprint -replace '[^0-9A-Fa-f]'
    if (-not $wanted) { $wanted = $current }
    if (-not $wanted) {
        # Neither given nor in use: the one in this machine's name that is valid for longest.
        $fit = @($store | Where-Object {
                (Test-Certificate $_) -and
                @(Get-CertificateName $_ | Where-Object { $_ -eq $fullName -or $_ -eq $env:COMPUTERNAME }).Count -gt 0
            } | Sort-Object -Property NotAfter -Descending)
        if ($fit.Count) { $wanted = $fit[0].Thumbprint }
    }
    $certificate = @($store | Where-Object { $_.Thumbprint -eq $wanted })
    $isGood = $wanted -and $certificate.Count -gt 0 -and (Test-Certificate $certificate[0])
    $good = if ($isGood) { "$wanted, until $($certificate[0].NotAfter.ToString('yyyy-MM-dd'))" } else { '' }
    Add-Finding 'Certificate for HTTPS' $isGood $good (
        "put a valid certificate for server authentication ($ServerAuthentication) with its private key and the name " +
        "$fullName into Cert:\LocalMachine\My")
    if (-not $isGood) {
        if (-not $listeners.Count) { Add-Row 'Listener HTTPS' 'MISSING' 'it needs a certificate first' }
        return
    }
    if ($certificate[0].NotAfter -lt (Get-Date).AddDays(14)) {
        Add-Row 'Certificate for HTTPS' 'NOTE' 'ends within 14 days'
    }

    # WinRM compares the host name of a listener with the certificate's.
    $names = @(Get-CertificateName $certificate[0])
    $own = @($names | Where-Object { $_ -eq $fullName -or $_ -eq $env:COMPUTERNAME })
    $hostName = @($own + $names)[0]
    $selector = @{ Address = '*'; Transport = 'HTTPS' }
    $values = @{ Hostname = "$hostName"; CertificateThumbprint = $wanted }
    if (-not $listeners.Count) {
        Invoke-Check 'Listener HTTPS' $false 'there is none' "make one on port $PortHttps with $wanted" {
            [void] (New-WSManInstance -ResourceURI 'winrm/config/Listener' -SelectorSet $selector -ValueSet $values)
            Save-Change 'Listener HTTPS' 'created'
        }
    } else {
        Invoke-Check 'Listener HTTPS' ($current -eq $wanted) "it has $current" "give it $wanted" {
            $selector.Address = "$($listeners[0].Address)"
            [void] (Set-WSManInstance -ResourceURI 'winrm/config/Listener' -SelectorSet $selector -ValueSet $values)
            Save-Change 'Listener HTTPS' "certificate $current $($listeners[0].Hostname)"
        }
        if ("$($listeners[0].Port)" -ne "$PortHttps") {
            Add-Row 'Port of the listener HTTPS' 'NOTE' "it is $($listeners[0].Port), not $PortHttps"
        }
    }
    Test-Firewall 'NMSlite-WinRM-HTTPS-In' 'NMSlite: WinRM over HTTPS' $PortHttps 'System' $null
}

# 4.8 DCOM: on, and its machine-wide limits as Windows has them. Only looked at: other programs depend on them.
function Test-Dcom {
    $enabled = Get-RegistryValue 'HKLM:\SOFTWARE\Microsoft\Ole' 'EnableDCOM'
    Add-Finding 'DCOM is on' ($enabled -eq 'Y') 'EnableDCOM is Y' (
        'dcomcnfg, My Computer, Properties, Default Properties, "Enable Distributed COM on this computer"; restart')
    Add-Finding 'Service Winmgmt' ((Get-Service -Name Winmgmt).Status -eq 'Running') 'Running' 'Start-Service Winmgmt'

    # Rights: 1 execute, 4 remote launch or access, 16 remote activation.
    $limits = @(
        @{ Value = 'MachineLaunchRestriction'; Needed = 0x15; Page = 'Launch and Activation Permissions' }
        @{ Value = 'MachineAccessRestriction'; Needed = 0x5; Page = 'Access Permissions' }
    )
    foreach ($limit in $limits) {
        $policy = Get-RegistryValue 'HKLM:\SOFTWARE\Policies\Microsoft\Windows NT\DCOM' $limit.Value
        $own = Get-RegistryValue 'HKLM:\SOFTWARE\Microsoft\Ole' $limit.Value
        $descriptor = $null
        if ($policy) {
            $descriptor = New-Object System.Security.AccessControl.RawSecurityDescriptor([string] $policy)
        } elseif ($own) {
            $descriptor = New-Object System.Security.AccessControl.RawSecurityDescriptor([byte[]] $own, 0)
        }
        # Without a value the built-in limits hold, which let in Distributed COM Users.
        $isOpen = $true
        if ($null -ne $descriptor) {
            $mask = Get-GrantedMask $descriptor @($accountSid, $GroupDistributedComUsers, 'S-1-1-0')
            $isOpen = ($mask -band $limit.Needed) -eq $limit.Needed
        }
        Add-Finding "DCOM limit $($limit.Value)" $isOpen 'lets in Distributed COM Users' (
            "dcomcnfg, My Computer, Properties, COM Security, $($limit.Page), Edit Limits: the remote rights")
    }
    Test-Firewall 'NMSlite-WMI-RPCSS-In' 'NMSlite: RPC endpoint mapper' $PortEndpointMapper `
        '%SystemRoot%\system32\svchost.exe' 'RpcSs'
    # The port of WMI itself is a dynamic one (49152-65535) unless somebody fixed it: any port of this service.
    Test-Firewall 'NMSlite-WMI-WINMGMT-In' 'NMSlite: WMI' 'Any' '%SystemRoot%\system32\svchost.exe' 'Winmgmt'
}

# 4.9 One firewall rule of our own that lets in the NMSlite servers. Windows' own rules stay as they are.
function Test-Firewall($RuleName, $Title, $Port, $Program, $Service) {
    $rule = Get-NetFirewallRule -Name $RuleName -ErrorAction SilentlyContinue
    $isRight = $false
    if ($rule) {
        $from = @(($rule | Get-NetFirewallAddressFilter).RemoteAddress)
        $to = @(($rule | Get-NetFirewallPortFilter).LocalPort)
        $isRight = "$($rule.Enabled)" -eq 'True' -and "$($rule.Action)" -eq 'Allow' -and
            "$($rule.Direction)" -eq 'Inbound' -and "$to" -eq "$Port" -and
            -not (Compare-Object -ReferenceObject $from -DifferenceObject $servers)
    }
    $state = if ($rule) { 'the rule is there' } else { 'there is no such rule' }
    Invoke-Check "Firewall $RuleName" $isRight $state "let in $($servers -join ', ') to TCP port $Port" {
        if ($rule) { $rule | Remove-NetFirewallRule }
        $arguments = @{
            Name = $RuleName; DisplayName = $Title; Group = 'NMSlite'; Direction = 'Inbound'; Action = 'Allow'
            Protocol = 'TCP'; LocalPort = "$Port"; RemoteAddress = $servers; Program = $Program; Profile = 'Any'
        }
        if ($Service) { $arguments.Service = $Service }
        [void] (New-NetFirewallRule @arguments)
        Save-Change "Firewall $RuleName" 'created'
    }
}

# 4.10 What else is true of the firewall: policies that ignore local rules, and Windows' own, wider rules.
function Test-FirewallPolicy {
    foreach ($firewallProfile in @(Get-NetFirewallProfile -PolicyStore ActiveStore)) {
        if ("$($firewallProfile.AllowLocalFirewallRules)" -eq 'False') {
            Add-Row "Firewall profile $($firewallProfile.Name)" 'NOTE' (
                'a policy ignores local rules here: put the rules into a group policy')
        }
    }
    # The groups "Windows Remote Management" and "Windows Management Instrumentation (WMI)".
    foreach ($group in '@FirewallAPI.dll,-30267', '@FirewallAPI.dll,-34251') {
        $open = @(Get-NetFirewallRule -Group $group -ErrorAction SilentlyContinue |
                Where-Object { "$($_.Enabled)" -eq 'True' -and "$($_.Direction)" -eq 'Inbound' })
        foreach ($rule in $open) {
            $from = @(($rule | Get-NetFirewallAddressFilter).RemoteAddress) -join ', '
            Add-Row "Firewall $($rule.Name)" 'NOTE' "this rule of Windows is on as well and lets in: $from"
        }
    }
}

# 4.11 Takes back what earlier runs have noted, the way in first and the service last.
function Undo-Change {
    if (-not (Test-Path -LiteralPath $StateKey)) {
        Add-Row 'Undo' 'OK' 'this script has changed nothing here, or all of it is taken back'
        return
    }
    $order = @{ Firewall = 1; Listener = 2; Group = 3; Namespace = 4; Service = 5 }
    $names = @((Get-Item -LiteralPath $StateKey).GetValueNames() | Sort-Object { $order[$_.Split(' ')[0]] })
    foreach ($name in $names) {
        $value = [string] (Get-RegistryValue $StateKey $name)
        $parts = $name.Split(' ')
        $action = switch ($parts[0]) {
            'Firewall' { "remove the rule $($parts[1])" }
            'Listener' { if ($value -eq 'created') { "remove the listener" } else { "give it back its $value" } }
            'Group' { "take $(Resolve-Name $parts[2]) out of $(Resolve-Name $parts[1])" }
            'Namespace' { "take rights on $Namespace from $(Resolve-Name $parts[1])" }
            'Service' { "set it back to $value" }
            default { 'nothing: this note is not known' }
        }
        if (-not $script:Apply) { Add-Row "Undo $name" 'NOTE' "-Apply would: $action"; continue }
        Invoke-Check "Undo $name" $false 'changed by this script' $action {
            switch ($parts[0]) {
                'Firewall' {
                    Get-NetFirewallRule -Name $parts[1] -ErrorAction SilentlyContinue | Remove-NetFirewallRule
                }
                'Listener' { Undo-Listener $parts[1] $value }
                'Group' { if (Test-GroupMember $parts[1] $parts[2]) { Remove-GroupMember $parts[1] $parts[2] } }
                'Namespace' { Revoke-Namespace $parts[1] ([int] $value) }
                'Service' {
                    $before = $value.Split(' ')
                    $startType = $before[0]
                    Set-Service -Name WinRM -StartupType $startType
                    if ($before[1] -ne 'Running') { Stop-Service -Name WinRM -Force }
                }
                default { throw 'this note is not known' }
            }
            Remove-ItemProperty -LiteralPath $StateKey -Name $name
        }
    }
    if ((Test-Path -LiteralPath $StateKey) -and (Get-Item -LiteralPath $StateKey).ValueCount -eq 0) {
        Remove-Item -LiteralPath $StateKey
        $parent = Get-Item -LiteralPath (Split-Path -Path $StateKey -Parent)
        if ($parent.SubKeyCount -eq 0 -and $parent.ValueCount -eq 0) { Remove-Item -LiteralPath $parent.PSPath }
    }
}

function Undo-Listener($Transport, $Value) {
    $selector = @{ Address = '*'; Transport = $Transport }
    $listeners = @(Get-Listener $Transport)
    if (-not $listeners.Count) { return }
    $selector.Address = "$($listeners[0].Address)"
    if ($Value -eq 'created') {
        Remove-WSManInstance -ResourceURI 'winrm/config/Listener' -SelectorSet $selector
    } else {
        $before = @{ CertificateThumbprint = $Value.Split(' ')[1]; Hostname = $Value.Split(' ')[2] }
        [void] (Set-WSManInstance -ResourceURI 'winrm/config/Listener' -SelectorSet $selector -ValueSet $before)
    }
}

# ---------------------------------------------------------------------------------------------------------------------
# 5. The run. A section that breaks off is MISSING, and the others go on.

function Invoke-Section($Title, $Body) {
    try {
        & $Body
    } catch {
        Add-Row $Title 'MISSING' "this could not be looked at: $($_.Exception.Message)"
    }
}

if ($Undo) {
    Invoke-Section 'Undo' { Undo-Change }
} else {
    Invoke-Section 'Account' { Test-Account }
    Invoke-Section "Namespace $Namespace" { Test-Namespace }
    Invoke-Section 'Classes' { Test-Class }
    Invoke-Section 'NTLM' { Test-Ntlm }
    if ($WinRM -or $WinRMHttps) {
        Invoke-Section 'WinRM' {
            if (Test-WinRMService) {
                if ($WinRM) { Invoke-Section 'Listener HTTP' { Test-HttpListener } }
                if ($WinRMHttps) { Invoke-Section 'Listener HTTPS' { Test-HttpsListener } }
            } else {
                Add-Row 'Listeners' 'MISSING' 'they can be looked at once the service runs'
            }
        }
    }
    if ($WMI) { Invoke-Section 'DCOM' { Test-Dcom } }
    Invoke-Section 'Firewall' { Test-FirewallPolicy }
}

$script:Rows | Format-Table -Property @('Status', 'Check', 'Detail') -AutoSize -Wrap | Out-Host
$missing = @($script:Rows | Where-Object { $_.Status -eq 'MISSING' }).Count
if ($missing -gt 0) {
    Write-Host "$missing missing."
    exit 1
}
exit 0
